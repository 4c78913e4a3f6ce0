//! The ways to people: robots, webhooks, mail, programs, files.

mod command;
mod email;
mod file;
mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ports::{Courier, Secrets, Undelivered, Way};

/// How long one letter may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read, and of output that is kept.
const ANSWER: u64 = 4 * 1024;

/// The courier for `way`; programs run in `home`. Secrets are read with each letter.
///
/// # Errors
/// There is no TLS, or an address in it is none.
pub fn courier(way: &Way, home: &Path, secrets: Arc<dyn Secrets>) -> Result<Box<dyn Courier>, String> {
    let client = || crate::sys::web::client("mesh").timeout(TIMEOUT).build().map_err(|error| error.to_string());
    Ok(match way {
        Way::DingTalk(robot) => Box::new(web::DingTalk { robot: robot.clone(), client: client()?, secrets }),
        Way::Slack(hook) => Box::new(web::Slack { hook: hook.clone(), client: client()?, secrets }),
        Way::Webhook(hook) => Box::new(web::Webhook { hook: hook.clone(), client: client()?, secrets }),
        Way::Ntfy(topic) => Box::new(web::Ntfy { topic: topic.clone(), client: client()?, secrets }),
        Way::Email(mail) => Box::new(email::Mail::new(mail.clone(), secrets)?),
        Way::Command(argv) => Box::new(command::Program { argv: argv.clone(), home: home.to_owned() }),
        Way::File(path) => Box::new(file::Lines { path: path.clone() }),
    })
}

fn undelivered(error: &(dyn std::error::Error + 'static)) -> Undelivered {
    Undelivered(crate::domain::foreign_text::error_line(error))
}
