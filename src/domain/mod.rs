//! What mesh decides. No clock, file, process, socket, async or global: values and a `now` in, values out.

pub mod admission;
pub mod branch_path;
pub mod detect;
pub mod envelope;
pub mod finding;
pub mod foreign_text;
pub mod id;
pub mod lesson;
pub mod limits;
pub mod strict_json;
