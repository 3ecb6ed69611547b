//! `identity`: how identities are signed.

use crate::check::gateway::first_repeated;
use crate::gateway::IdentityTokens;
use crate::leaf::unit::Time;
use crate::report::Report;
use crate::typed;

/// Nobody rotates keys so often, and every verifier reads all of them.
const MOST_OTHERS: usize = 8;

/// What `identity` means for the gateway with this id.
pub(crate) fn identity(
    typed: typed::identity::IdentityTokens,
    gateway_id: &str,
    report: &mut Report<'_>,
) -> IdentityTokens {
    let bounds = Time::seconds(10)..=Time::seconds(3_600);
    report.within("identity.lifetime", typed.lifetime, bounds);
    let path = "identity.other_key_files";
    if let Some(twice) = first_repeated(&typed.other_key_files) {
        report.wrong(path, format!("\"{twice}\" is there twice; remove one"));
    }
    if typed.other_key_files.contains(&typed.key_file) {
        let file = &typed.key_file;
        report.wrong(path, format!("\"{file}\" is key_file already; remove it here"));
    }
    if typed.other_key_files.len() > MOST_OTHERS {
        let count = typed.other_key_files.len();
        report.wrong(path, format!("there are {count}; write at most {MOST_OTHERS}"));
    }
    IdentityTokens {
        key_file: typed.key_file.0,
        other_key_files: typed.other_key_files.into_iter().map(|file| file.0).collect(),
        issuer: typed
            .issuer
            .map_or_else(|| gateway_id.to_owned(), |issuer| issuer.0),
        audience: typed.audience.map(|audience| audience.0),
        lifetime: typed.lifetime.0,
    }
}
