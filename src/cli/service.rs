//! `mesh service`: what is kept alive here, and what a person wants to be down.

use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::domain::id::ServiceName;
use crate::store::services::Stops;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Show every service as the agent last saw it
    List,
    /// Show what happened to a service
    Show {
        /// The service
        name: ServiceName,
    },
    /// Keep a service down until `mesh service start`
    Stop {
        /// The service
        name: ServiceName,
        /// Why, for whoever finds it down
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End a stop
    Start {
        /// The service
        name: ServiceName,
    },
}

pub(super) fn run(context: &Context, action: &Action) -> Outcome {
    match action {
        Action::List => list(context),
        Action::Show { name } => show(context, name),
        Action::Stop { name, reason } => {
            let stops = known(context, name)?;
            stops.add(name, reason).map_err(|error| CliError::of(ExitKind::Error, &error))?;
            said(context, name, true)
        }
        Action::Start { name } => {
            let stops = known(context, name)?;
            stops.remove(name).map_err(|error| CliError::of(ExitKind::Error, &error))?;
            said(context, name, false)
        }
    }
}

/// Where stops are kept, for a service that there is.
fn known(context: &Context, name: &ServiceName) -> Result<Stops, CliError> {
    let parts = context.open()?;
    if !parts.config.services.iter().any(|service| service.name == *name) {
        let error = CliError::new(ExitKind::Usage, format!("no service `{name}` in the configuration"));
        return Err(error.hint("`mesh service list` shows those that there are"));
    }
    Ok(Stops::of(&parts.home))
}

fn said(context: &Context, name: &ServiceName, stop: bool) -> Outcome {
    // Whoever can have the lock knows that no agent has it.
    let agent = context.open()?.lock().is_err();
    if context.json {
        out::json(&json!({ "service": name, "stop": stop, "agent": agent }));
        return Ok(ExitKind::Ok);
    }
    let what = match (stop, agent) {
        (true, true) => "is being stopped, and stays down until `mesh service start`",
        (true, false) => "stays as it is: no agent runs; it will be stopped when one starts",
        (false, true) => "is being started",
        (false, false) => "may start: no agent runs; it will be started when one does",
    };
    out::line(format!("{name} {what}."));
    Ok(ExitKind::Ok)
}

fn list(context: &Context) -> Outcome {
    let parts = context.open()?;
    let (now, rows) = (parts.now().as_millisecond(), parts.db.services()?);
    if context.json {
        out::json(&json!({ "services": rows }));
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["service", "manager", "state", "alive", "pid", "restarts", "why~", "seen"]);
    for row in rows {
        let alive = row.liveness.map_or("?", |alive| if alive { "yes" } else { "no" });
        let pid = row.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let seen = age((now - row.at) / 1_000);
        let restarts = row.restarts.to_string();
        table.row([row.name, row.manager, row.state, alive.to_owned(), pid, restarts, row.why, seen]);
    }
    table.lines().iter().for_each(out::line);
    Ok(ExitKind::Ok)
}

fn show(context: &Context, name: &ServiceName) -> Outcome {
    let parts = context.open()?;
    let now = parts.now().as_millisecond();
    let events = parts.db.service_events(Some(name.as_str()), 50)?;
    let row = parts.db.services()?.into_iter().find(|row| row.name == name.as_str());
    if row.is_none() && events.is_empty() {
        return Err(CliError::new(ExitKind::Error, format!("nothing is known of a service `{name}`"))
            .hint("`mesh service list` shows those that are"));
    }
    if context.json {
        out::json(&json!({ "service": row, "events": events }));
        return Ok(ExitKind::Ok);
    }
    if let Some(row) = row {
        let pid = row.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        out::line(format!("{name}: {}{pid}, {} restarts, run by {}", row.state, row.restarts, row.manager));
    }
    for event in events {
        out::line(format!("{:>5} ago  {}", age((now - event.at) / 1_000), event.what));
    }
    Ok(ExitKind::Ok)
}
