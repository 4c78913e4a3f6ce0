//! The snapshot for people: one small page that loads nothing.

use std::fmt::Write as _;

use crate::domain::foreign_text::display_line;
use crate::domain::snapshot::{SignalState, Snapshot};

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
<meta http-equiv=refresh content=60><title>mesh</title><style>body{font:15px/1.4 system-ui,sans-serif;margin:2em;max-width:60em}\
td,th{text-align:left;padding:.1em 1em .1em 0}.beyond,.critical{color:#b00}.unknown,.degraded{color:#a60}.ok{color:#070}\
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style>";

pub(super) fn html(snapshot: &Snapshot) -> String {
    let mut page = HEAD.to_owned();
    let status = snapshot.status.name();
    let up = snapshot.uptime_s / 60;
    let lag = snapshot.worker_sync_lag_s.map_or_else(|| "never".to_owned(), |lag| format!("{} min ago", lag / 60));
    put(&mut page, format_args!("<h1>mesh: <span class={status}>{status}</span></h1><p>up {up} min, synced {lag}</p>"));
    if !snapshot.reasons.is_empty() {
        page.push_str("<ul>");
        for reason in &snapshot.reasons {
            put(&mut page, format_args!("<li>{}", escaped(reason)));
        }
        page.push_str("</ul>");
    }
    for (title, counts) in [("Fixes", &snapshot.interventions), ("Inbox", &snapshot.inbox)] {
        table(&mut page, title, counts.iter().map(|(state, count)| ("", vec![state.clone(), count.to_string()])));
    }
    table(&mut page, "Peers", snapshot.peers.iter().map(|(name, state)| ("", vec![name.clone(), state.clone()])));
    table(
        &mut page,
        "Services",
        snapshot.services.iter().map(|(name, service)| ("", vec![name.clone(), service.state.clone()])),
    );
    let signals = snapshot.signals.iter().map(|(name, signal)| {
        let (class, value) = match signal.state {
            SignalState::Ok => ("ok", signal.value),
            SignalState::Beyond => ("beyond", signal.value),
            SignalState::Unknown => ("unknown", None),
            SignalState::Absent => ("absent", None),
        };
        let value = match value {
            Some(value) if signal.why.is_empty() => format!("{value:.1} {}", signal.unit),
            Some(value) => format!("{value:.1} {}: {}", signal.unit, signal.why),
            None => format!("{class}: {}", signal.why),
        };
        (class, vec![name.clone(), value])
    });
    table(&mut page, "Signals", signals);
    page
}

fn table(page: &mut String, title: &str, rows: impl Iterator<Item = (&'static str, Vec<String>)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    put(page, format_args!("<h2>{title}</h2><table>"));
    for (class, cells) in rows {
        put(page, format_args!("<tr class=\"{class}\">"));
        for cell in cells {
            put(page, format_args!("<td>{}", escaped(&cell)));
        }
    }
    page.push_str("</table>");
}

fn put(page: &mut String, part: std::fmt::Arguments<'_>) {
    page.write_fmt(part).expect("a string takes all");
}

fn escaped(text: &str) -> String {
    display_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
