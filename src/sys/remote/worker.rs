//! The process that speaks to git servers. It binds its own hands first, does one thing, answers in one line, and ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::Oid;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use super::publish::publish;
use super::request::{Answer, Limits, Request, Task, shown};
use super::session::Session;
use super::setup;
use crate::ports::RemoteError;

/// Largest request that is read, in bytes.
const REQUEST_BYTES: u64 = 64 * 1024 * 1024;

/// Serves one request. What stands on `input` must come from the agent: it names the limits.
///
/// # Errors
/// The answer cannot be written; every other failure is part of the answer.
pub fn run(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let served = catch_unwind(AssertUnwindSafe(|| serve(input)));
    let unreadable = || RemoteError::Protocol("its answer cannot be read, such as a name that is not UTF-8".to_owned());
    let answer = match served.unwrap_or_else(|_| Err(unreadable())) {
        Ok(tip) => Answer::Tip(tip.map(|tip| tip.to_string())),
        Err(error) => Answer::Failed(error.into()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn serve(input: impl Read) -> Result<Option<Oid>, RemoteError> {
    let internal = |why: String| RemoteError::Cache(format!("network worker: {why}"));
    let request: Request =
        serde_json::from_reader(input.take(REQUEST_BYTES)).map_err(|error| internal(shown(&error.to_string())))?;
    bind_hands(&request).map_err(|error| internal(format!("cannot limit itself: {error}")))?;
    setup::isolate().map_err(|error| internal(shown(error.message())))?;
    let session = Session::new(&request)?;
    match &request.task {
        Task::Tip => session.tip(),
        Task::Fetch => {
            let _lock = lock(&request)?;
            session.fetch().map(|fetched| fetched.tip)
        }
        Task::Publish { files, message } => {
            let _lock = lock(&request)?;
            publish(&session, &decoded(files)?, message).map(Some)
        }
    }
}

fn decoded(files: &BTreeMap<String, String>) -> Result<BTreeMap<String, Vec<u8>>, RemoteError> {
    let decode = |(path, text): (&String, &String)| Ok((path.clone(), STANDARD.decode(text)?));
    let decoded: Result<_, base64::DecodeError> = files.iter().map(decode).collect();
    decoded.map_err(|error| RemoteError::Cache(format!("network worker: {error}")))
}

/// One worker at a time uses a cache; the lock ends with the process.
fn lock(request: &Request) -> Result<File, RemoteError> {
    let path = request.cache.with_extension("lock");
    let failed = |why: String| RemoteError::Cache(format!("{}: {why}", shown(&path.display().to_string())));
    let file = File::create(&path).map_err(|error| failed(error.to_string()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

fn bind_hands(request: &Request) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() != request.parent) {
        return Err(io::Error::other("the agent has ended"));
    }
    rustix::thread::set_no_new_privs(true)?;
    let Limits { address_space, cpu, .. } = request.limits;
    let limit = |resource, value, maximum| {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(maximum) }).map_err(io::Error::from)
    };
    limit(Resource::As, address_space, address_space)?;
    limit(Resource::Cpu, cpu.as_secs().max(1), cpu.as_secs().max(1) + 1)?;
    limit(Resource::Core, 0, 0)
}
