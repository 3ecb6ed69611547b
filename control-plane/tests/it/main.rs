//! The control plane from outside: real listeners, a real SQLite file, one test file per endpoint.

mod admin;
mod plane;
mod portal;
mod promises;
