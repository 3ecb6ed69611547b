//! Surface 3: a company's API keys. camelCase.

pub mod error;
