//! The pages in real headless Chromium, against the running binary.

mod driver;
mod files;
mod inventory;
mod plain;
mod scans;
mod session;
mod trust;
mod widths;
