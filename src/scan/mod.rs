//! Reads and rewrites source text: text in, findings and edits out; no file access.
