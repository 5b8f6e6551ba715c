//! Upstream's known cases (structured-merge-diff's `merge/*_test.go`), and what Kubernetes puts around them.

mod built_in;
mod cases;
mod entries;
