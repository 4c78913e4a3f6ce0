//! This machine and this process, from `/proc`. No other process is looked at.

use std::path::PathBuf;
use std::time::Instant;

use super::{percent, reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

/// Where mesh's own readings stand among those of services.
const OWN: &str = "mesh";

/// CPU, load, memory, swap, stalls and file handles of the machine, and what mesh itself uses.
pub struct HostProbe {
    proc: PathBuf,
    cpu: Option<(f64, f64)>,
    own_cpu: Option<(Instant, f64)>,
    remarks: Vec<(SeriesName, String)>,
}

/// Stalls, and the files that tell them.
const STALLS: [(&str, &str, &str); 3] = [
    ("host.psi.cpu_some", "pressure/cpu", "some"),
    ("host.psi.io_full", "pressure/io", "full"),
    ("host.psi.memory_full", "pressure/memory", "full"),
];

impl HostProbe {
    /// Reads from `proc`, which is `/proc`.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), cpu: None, own_cpu: None, remarks: Vec::new() }
    }

    fn file(&self, path: &str) -> Option<String> {
        small_file(self.proc.join(path))
    }

    /// The part of the time since the last look in which a processor worked.
    fn cpu(&mut self) -> Option<f64> {
        let now = busy_and_all(&self.file("stat")?)?;
        let (busy, all) = self.cpu.replace(now)?;
        (now.1 > all).then(|| percent(now.0 - busy, now.1 - all).clamp(0.0, 100.0))
    }

    fn own_cpu(&mut self) -> Option<f64> {
        let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9;
        let now = Instant::now();
        let (at, before) = self.own_cpu.replace((now, used))?;
        let passed = (now - at).as_secs_f64();
        (passed > 0.0).then(|| percent(used - before, passed))
    }
}

impl Probe for HostProbe {
    fn read(&mut self) -> Vec<Reading> {
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let memory = self.file("meminfo");
        let memory = memory.as_deref();
        let stalls = STALLS.map(|(signal, file, kind)| (signal, self.file(file).and_then(|text| average(&text, kind))));
        let untold = stalls.iter().zip(STALLS).filter(|((_, value), _)| value.is_none());
        self.remarks = untold
            .map(|(_, (signal, file, _))| {
                let why = format!(
                    "no {}: this kernel does not tell stalls, or not without psi=1",
                    self.proc.join(file).display()
                );
                (SeriesName::of(signal, Subject::default()), why)
            })
            .collect();
        let host = [
            ("host.cpu.used_percent", self.cpu()),
            (
                "host.load.per_core",
                self.file("loadavg").and_then(|text| number(text.split(' ').next()?)).map(|load| load / cores),
            ),
            ("host.memory.used_percent", memory.and_then(|text| used(text, "MemTotal:", "MemAvailable:"))),
            ("host.swap.used_percent", memory.and_then(|text| used(text, "SwapTotal:", "SwapFree:"))),
            ("host.fd.used_percent", self.file("sys/fs/file-nr").and_then(|text| handles(&text))),
        ];
        let own = [
            ("service.cpu_percent", self.own_cpu()),
            (
                "service.rss_mb",
                self.file("self/status").and_then(|text| kilobytes(&text, "VmRSS:")).map(|kb| kb * 1024.0 / 1e6),
            ),
        ];
        let tell = |subject: Subject| {
            move |(signal, value): (&'static str, Option<f64>)| Some(reading(signal, &subject, Ok(value?)))
        };
        // What this kernel does not tell is not measured here, rather than unknown each time; of stalls it is said why.
        host.into_iter()
            .chain(stalls)
            .filter_map(tell(Subject::default()))
            .chain(own.into_iter().filter_map(tell(Subject::near(OWN))))
            .collect()
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remarks.clone()
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Ticks in which a processor worked, and all ticks.
fn busy_and_all(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest time is part of user time.
    let ticks: Vec<f64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(number).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let all = ticks.iter().sum::<f64>();
    Some((all - idle, all))
}

fn kilobytes(text: &str, name: &str) -> Option<f64> {
    number(text.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?)
}

fn used(meminfo: &str, total: &str, free: &str) -> Option<f64> {
    let (total, free) = (kilobytes(meminfo, total)?, kilobytes(meminfo, free)?);
    Some(percent(total - free, total))
}

/// The five-minute average of a pressure file.
fn average(pressure: &str, kind: &str) -> Option<f64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix(kind))?;
    number(line.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg300="))?)
}

fn handles(file_nr: &str) -> Option<f64> {
    let mut numbers = file_nr.split_ascii_whitespace().map(number);
    let (used, free, most) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(percent(used - free, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b5_the_files_of_proc_are_read() {
        assert_eq!(busy_and_all("cpu  10 0 20 60 10 0 0 0 5 5\ncpu0 1 2 3 4\n"), Some((30.0, 100.0)));
        assert_eq!(used("MemTotal: 100 kB\nMemAvailable:   25 kB\n", "MemTotal:", "MemAvailable:"), Some(75.0));
        assert_eq!(used("SwapTotal: 0 kB\nSwapFree: 0 kB\n", "SwapTotal:", "SwapFree:"), Some(0.0));
        let pressure =
            "some avg10=0.00 avg60=0.00 avg300=1.50 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=1\n";
        assert_eq!((average(pressure, "some"), average(pressure, "full")), (Some(1.5), Some(0.25)));
        assert_eq!(handles("600\t100\t1000\n"), Some(50.0));
    }

    #[test]
    fn this_machine_is_measured_and_the_second_look_tells_a_change() {
        let mut probe = HostProbe::new("/proc");
        let names = |readings: &[Reading]| readings.iter().map(|reading| reading.name.to_string()).collect::<Vec<_>>();
        let first = names(&probe.read());
        assert!(
            first.contains(&"host.memory.used_percent".to_owned()) && first.contains(&"service.rss_mb/mesh".to_owned())
        );
        assert!(!first.contains(&"host.cpu.used_percent".to_owned()), "one look is no change");
        let told = first.contains(&"host.psi.memory_full".to_owned());
        assert_eq!(told, std::path::Path::new("/proc/pressure/memory").exists() && probe.remarks().is_empty());
        let before = std::fs::read_to_string("/proc/stat").expect("linux");
        while busy_and_all(&before) == busy_and_all(&std::fs::read_to_string("/proc/stat").expect("linux")) {
            std::hint::spin_loop();
        }
        let second = probe.read();
        assert!(names(&second).contains(&"host.cpu.used_percent".to_owned()));
        assert!(second.iter().all(|reading| reading.value.as_ref().is_ok_and(|value| *value >= 0.0)), "{second:?}");
    }

    #[test]
    fn b6_stalls_are_told_where_the_kernel_tells_them() {
        let dir = tempfile::tempdir().expect("a temp dir");
        std::fs::create_dir(dir.path().join("pressure")).expect("made");
        let text = "some avg10=9.00 avg60=9.00 avg300=2.50 total=1\nfull avg10=9.00 avg60=9.00 avg300=1.25 total=1\n";
        std::fs::write(dir.path().join("pressure/memory"), text).expect("written");
        let mut probe = HostProbe::new(dir.path());
        let readings = probe.read();
        let told: Vec<_> = readings.iter().map(|one| (one.name.to_string(), one.value.clone())).collect();
        assert_eq!(told, [("host.psi.memory_full".to_owned(), Ok(1.25))]);
        let absent: Vec<_> = probe.remarks().into_iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(absent, ["host.psi.cpu_some", "host.psi.io_full"]);
        assert!(probe.remarks()[0].1.contains("psi=1"), "{:?}", probe.remarks());
    }

    #[test]
    fn a_kernel_that_tells_nothing_gives_no_readings() {
        let dir = tempfile::tempdir().expect("a temp dir");
        for file in ["stat", "meminfo", "loadavg"] {
            std::fs::write(dir.path().join(file), "\u{fffd} 1 x\nMemTotal: -\ncpu \n").expect("written");
        }
        let readings = HostProbe::new(dir.path()).read();
        assert!(readings.is_empty(), "{readings:?}");
    }
}
