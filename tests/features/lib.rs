//! Empty: the crate is only its dependencies. Cargo.toml explains them.
