//! The command line as it is documented.

mod contract;
