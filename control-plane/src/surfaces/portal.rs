//! Surface 1: partners manage their end customers and their keys. camelCase.

pub mod create;
pub mod delete;
pub mod error;
pub mod guard;
pub mod list;
pub mod rename;
pub mod rotate_key;
pub mod show;
pub mod usage;
pub mod wire;
