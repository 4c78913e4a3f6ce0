//! The lessons that ship with mesh, as the TOML that a person would write.

/// Every founding lesson: file name and text.
pub const ALL: &[(&str, &str)] = &[
    ("basicconfig-in-daemon.toml", include_str!("basicconfig-in-daemon.toml")),
    ("breaker-forgets-on-success.toml", include_str!("breaker-forgets-on-success.toml")),
    ("guard-after-produce.toml", include_str!("guard-after-produce.toml")),
    ("handler-without-propagate-false.toml", include_str!("handler-without-propagate-false.toml")),
    ("mtime-as-liveness.toml", include_str!("mtime-as-liveness.toml")),
    ("non-atomic-state-write.toml", include_str!("non-atomic-state-write.toml")),
    ("pid-file-without-identity.toml", include_str!("pid-file-without-identity.toml")),
    ("redirect-empties-its-input.toml", include_str!("redirect-empties-its-input.toml")),
    ("rename-without-fsync.toml", include_str!("rename-without-fsync.toml")),
    ("retry-without-backoff.toml", include_str!("retry-without-backoff.toml")),
    ("suffix-filter-starves.toml", include_str!("suffix-filter-starves.toml")),
    ("swallowed-exception.toml", include_str!("swallowed-exception.toml")),
    ("systemd-restart-without-limit.toml", include_str!("systemd-restart-without-limit.toml")),
    ("timeout-kill-discards-partial.toml", include_str!("timeout-kill-discards-partial.toml")),
    ("whole-file-write-of-state.toml", include_str!("whole-file-write-of-state.toml")),
    ("world-readable-secret.toml", include_str!("world-readable-secret.toml")),
];
