//! OAuth 2.0 for surfaces 3 and 4: account keys are exchanged for short-lived tokens. RFC 6749 (client credentials), 8414
//! (metadata), 7517 (keys), 9068 (tokens). Beside the surfaces: nobody is identified before the endpoint runs.

pub mod error;
mod form;
pub mod jwks;
pub mod metadata;
pub mod token;
