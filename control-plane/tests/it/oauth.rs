//! Tokens for surfaces 3 and 4: how they are had, and what is said of them.

mod jwks;
mod metadata;
mod token;
