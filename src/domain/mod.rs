//! What mesh decides. No clock, file, process, socket, async or global: values and a `now` in, values out.

pub mod admission;
pub mod branch_path;
pub mod chain;
pub mod detect;
pub mod entry;
pub mod envelope;
pub mod expr;
pub mod finding;
pub mod fix;
pub mod foreign_text;
pub mod guard;
pub mod head;
pub mod id;
pub mod lesson;
pub mod limits;
pub mod openssh;
pub mod redact;
pub mod schedule;
pub mod signal;
pub mod source_marks;
pub mod strict_json;
pub mod trust;
pub mod undo;
pub mod utc_time;
