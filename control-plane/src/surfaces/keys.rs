//! Surface 3: a company's API keys. camelCase.

pub mod create;
pub mod delete;
pub mod error;
pub mod list;
pub mod permission;
pub mod show;
pub mod update;
pub mod wire;
