//! The lessons that ship with mesh, as the TOML that a person would write.

/// Every founding lesson: file name and text.
pub const ALL: &[(&str, &str)] = &[];
