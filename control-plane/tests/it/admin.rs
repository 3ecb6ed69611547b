//! Surface 2.

mod admin_keys;
mod any_endpoint;
mod api_keys;
mod audit;
mod customers;
mod leaks;
mod reads;
