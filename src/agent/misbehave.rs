//! Debug builds only: a worker that misbehaves on request, so that tests can see every kind of its death.

use crate::domain::id::Slug;

/// `MESH_TEST_MISBEHAVE` is `<lesson>:<path>:<how>`: with that lesson loaded, at that file, it does that.
pub(super) fn at(path: &str, lessons: &[Slug]) {
    let Ok(order) = std::env::var("MESH_TEST_MISBEHAVE") else { return };
    let mut parts = order.split(':');
    let (Some(lesson), Some(file), Some(how)) = (parts.next(), parts.next(), parts.next()) else { return };
    if !path.ends_with(file) || !lessons.iter().any(|loaded| loaded.as_str() == lesson) {
        return;
    }
    match how {
        "spin" => loop {
            std::hint::spin_loop();
        },
        "overflow" => {
            std::hint::black_box(deeper(0));
        }
        "bomb" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "dawdle" => std::thread::sleep(std::time::Duration::from_millis(60)),
        "panic" => panic!("told to panic"),
        _ => std::process::abort(),
    }
}

fn deeper(level: u64) -> u64 {
    let frame = std::hint::black_box([level; 64]);
    if level == u64::MAX { 0 } else { deeper(level + 1) + frame[usize::try_from(level % 64).unwrap_or(0)] }
}
