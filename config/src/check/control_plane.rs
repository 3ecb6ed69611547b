//! What a control plane's settings mean together.

use std::path::PathBuf;

use keyward_contract::Limits;

use crate::check;
use crate::control_plane::{
    Auth, ControlPlaneConfig, ControlPlaneListen, DatabasePassword, LeakPolicy, ManagementLimits, OidcConfig,
    Rules, SecretFiles, SyncService, SyncTls, UsageRetention,
};
use crate::leaf::unit::Time;
use crate::leaf::word::Leak;
use crate::report::Report;
use crate::typed;

/// The most that a rate or a burst may be: ten times what one machine can decide.
pub(crate) const LARGEST_LIMIT: u64 = 10_000_000;

/// Checks everything but the addresses to listen on, which differ between the programs.
pub(crate) fn control_plane(
    typed: typed::control_plane::ControlPlane,
    report: &mut Report<'_>,
) -> ControlPlaneConfig {
    report.within(
        "propagation.wait",
        typed.propagation.wait,
        Time::ms(0)..=Time::seconds(60),
    );
    let (database_url, database_password) = database(typed.database, report);
    ControlPlaneConfig {
        listen: ControlPlaneListen {
            api: typed.listen.api.0,
            sync: typed.listen.sync.0,
            admin: typed.listen.admin.0,
        },
        database_url,
        database_password,
        secrets: secrets(typed.secrets, report),
        sync: SyncService {
            shared_token: typed.sync.shared_token,
            tls: typed.sync.tls.and_then(|tls| sync_tls(tls, report)),
        },
        propagation_wait: typed.propagation.wait.0,
        auth: auth(typed.auth, report),
        rules: rules(&typed.rules, report),
        leaks: match typed.leaks.policy {
            Leak::Quarantine => LeakPolicy::Quarantine,
            Leak::Revoke => LeakPolicy::Revoke,
            Leak::Report => LeakPolicy::Report,
        },
        redis: check::limiter::redis(typed.limiter, report),
        usage: usage(&typed.usage, report),
        management_limits: management_limits(&typed.management_limits, report),
        documentation_url: typed.errors.documentation_url.0,
        tiers: check::tiers::catalogue(&typed.tiers, report),
    }
}

fn database(
    typed: typed::control_plane::Database,
    report: &mut Report<'_>,
) -> (String, Option<DatabasePassword>) {
    const URL: &str = "database.url";
    const FILE: &str = "database.password_file";
    let is_postgres = typed.url.is_postgres();
    if typed.url.password.is_some() && !report.is_from_a_variable(URL) {
        let message = "has a password in it, and no secret stands in a configuration file; write it into a file of its \
                       own that database.password_file names, or give the whole address as KEYWARD__DATABASE__URL";
        report.wrong(URL, message);
    }
    let password = match (typed.url.password, typed.password_file) {
        (Some(_), Some(_)) => {
            report.wrong(FILE, "is a second password: database.url has one; remove either");
            None
        }
        (Some(given), None) => Some(DatabasePassword::Given(given)),
        (None, Some(_)) if !is_postgres => {
            report.wrong(FILE, "is for PostgreSQL, and database.url is a file; remove it");
            None
        }
        (None, Some(file)) => Some(DatabasePassword::File(file.0)),
        (None, None) => None,
    };
    (typed.url.address, password)
}

fn secrets(typed: typed::control_plane::Secrets, report: &mut Report<'_>) -> SecretFiles {
    let files: [(&str, PathBuf); 3] = [
        ("secrets.master_key_file", typed.master_key_file.0),
        ("secrets.digest_key_file", typed.digest_key_file.0),
        ("secrets.gateway_token_file", typed.gateway_token_file.0),
    ];
    for (index, (path, file)) in files.iter().enumerate() {
        if let Some((other, _)) = files.iter().take(index).find(|(_, other)| other == file) {
            report.wrong(
                path,
                format!("is the file of {other}; every secret has a file of its own"),
            );
        }
    }
    let [(_, master_key), (_, digest_key), (_, gateway_token)] = files;
    SecretFiles {
        master_key,
        digest_key,
        gateway_token,
    }
}

fn sync_tls(typed: typed::control_plane::SyncTls, report: &mut Report<'_>) -> Option<SyncTls> {
    if typed.cert_file.is_none() {
        report.missing(
            "sync.tls.cert_file",
            "is missing; write the file of the control plane's certificate",
        );
    }
    if typed.key_file.is_none() {
        report.missing(
            "sync.tls.key_file",
            "is missing; write the file of the certificate's private key",
        );
    }
    if typed.client_crl_file.is_some() && typed.client_ca_file.is_none() {
        let message = "revokes client certificates, and without client_ca_file none is taken; write that too";
        report.wrong("sync.tls.client_crl_file", message);
    }
    Some(SyncTls {
        cert_file: typed.cert_file?.0,
        key_file: typed.key_file?.0,
        client_ca_file: typed.client_ca_file.map(|file| file.0),
        client_crl_file: typed.client_crl_file.map(|file| file.0),
    })
}

fn auth(typed: typed::control_plane::Auth, report: &mut Report<'_>) -> Auth {
    let (token, key) = (typed.token_lifetime, typed.signing_key_lifetime);
    report.within(
        "auth.token_lifetime",
        token,
        Time::seconds(60)..=Time::seconds(3_600),
    );
    report.within(
        "auth.signing_key_lifetime",
        key,
        Time::seconds(86_400)..=Time::seconds(3_650 * 86_400),
    );
    let auth = Auth {
        issuer: typed.issuer.map(|issuer| issuer.0),
        token_lifetime: token.0,
        signing_key_lifetime: key.0,
        oidc: typed.oidc.map(|oidc| self::oidc(oidc, report)),
    };
    if let (Some(own), Some(oidc)) = (&auth.issuer, &auth.oidc)
        && own.as_str() == oidc.issuer.trim_end_matches('/')
    {
        report.wrong(
            "auth.oidc.issuer",
            "is auth.issuer, this control plane itself; its tokens are taken anyway",
        );
    }
    auth
}

fn oidc(typed: typed::control_plane::Oidc, report: &mut Report<'_>) -> OidcConfig {
    if typed.issuer.is_none() {
        report.missing(
            "auth.oidc.issuer",
            "is missing; write the issuer's address, such as \"https://login.example.com\"",
        );
    }
    if typed.audience.is_none() {
        report.missing(
            "auth.oidc.audience",
            "is missing; write what its tokens name in aud: without it every token that it gives anybody would be taken",
        );
    }
    report.within("auth.oidc.leeway", typed.leeway, Time::ms(0)..=Time::seconds(300));
    report.within(
        "auth.oidc.jwks_refresh",
        typed.jwks_refresh,
        Time::seconds(60)..=Time::seconds(86_400),
    );
    OidcConfig {
        issuer: typed.issuer.map(|issuer| issuer.0).unwrap_or_default(),
        audience: typed.audience.map(|audience| audience.0).unwrap_or_default(),
        claims: typed.claims.0,
        leeway: typed.leeway.0,
        jwks_refresh: typed.jwks_refresh.0,
    }
}

fn rules(typed: &typed::control_plane::Rules, report: &mut Report<'_>) -> Rules {
    let versions = &typed.api_versions;
    if versions.is_empty() {
        report.missing("rules.api_versions", "there is none; write [\"2026-11-01\"]");
    }
    for (earlier, later) in versions.iter().zip(versions.iter().skip(1)) {
        if earlier >= later {
            report.wrong(
                "rules.api_versions",
                format!("\"{later}\" follows \"{earlier}\"; write each once, oldest first"),
            );
        }
    }
    let longest = Time::seconds(36_500 * 86_400);
    let (window, lifetime) = (typed.api_version_downgrade_window, typed.user_key_lifetime);
    report.within(
        "rules.api_version_downgrade_window",
        window,
        Time::ms(0)..=longest,
    );
    report.within("rules.user_key_lifetime", lifetime, Time::seconds(1)..=longest);
    Rules {
        api_versions: versions.iter().map(|version| version.0.clone()).collect(),
        api_version_downgrade_window: window.0,
        user_key_lifetime: lifetime.0,
    }
}

fn usage(typed: &typed::control_plane::Usage, report: &mut Report<'_>) -> UsageRetention {
    let day = |days: u64| Time::seconds(days * 86_400);
    let (hours, days) = (typed.keep_hours, typed.keep_days);
    report.within("usage.keep_hours", hours, day(2)..=day(36_500));
    // What an account has used of its contract year is the sum of that year's days.
    report.within("usage.keep_days", days, day(400)..=day(36_500));
    if days < hours && days >= day(400) {
        report.wrong(
            "usage.keep_days",
            format!("{days} is less than usage.keep_hours, {hours}; write at least as much"),
        );
    }
    UsageRetention {
        keep_hours: hours.0,
        keep_days: days.0,
    }
}

fn management_limits(
    typed: &typed::control_plane::ManagementLimits,
    report: &mut Report<'_>,
) -> ManagementLimits {
    ManagementLimits {
        portal: limit("management_limits.portal", &typed.portal, 20, report),
        others: limit("management_limits.others", &typed.others, 50, report),
    }
}

fn limit(at: &str, typed: &typed::control_plane::Limit, default: u32, report: &mut Report<'_>) -> Limits {
    let rate = typed.rate.map_or(default, |rate| rate.0);
    let burst = typed.burst.unwrap_or(u64::from(rate) * 2);
    report.within(&format!("{at}.rate"), u64::from(rate), 1..=LARGEST_LIMIT);
    if rate > 0 {
        report.within(&format!("{at}.burst"), burst, 1..=2 * LARGEST_LIMIT);
    }
    Limits {
        rate,
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
    }
}
