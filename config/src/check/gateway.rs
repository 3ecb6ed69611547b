//! What a gateway's settings mean together.

use std::time::Duration;

use crate::check;
use crate::gateway::{
    AccessLog, Bounds, CertificateFiles, ClientCertificates, ClientTls, ControlPlaneLink, Credentials, Drain,
    GatewayConfig, Listen, ListenTls, Staleness, Timeouts, WhenStale,
};
use crate::leaf::name::CredentialHeader;
use crate::leaf::network::Block;
use crate::leaf::unit::{Size, Time};
use crate::leaf::word::{self, Stale};
use crate::report::Report;
use crate::surroundings::Surroundings;
use crate::typed;

const A_DAY: Time = Time::seconds(86_400);
const A_YEAR: Time = Time::seconds(365 * 86_400);
/// A file of each of a few workers.
const SMALLEST_LEDGER: Size = Size(8 << 20);
const LARGEST_LEDGER: Size = Size(1 << 40);
/// The least that hyper takes as its buffer.
const SMALLEST_HEAD: Size = Size(8 << 10);
/// The most that a request target can have in the `http` crate.
const LONGEST_URI: Size = Size(65_534);

/// Checks everything but the addresses to listen on, which differ between the programs.
pub(crate) fn gateway(
    typed: typed::gateway::Gateway,
    surroundings: &Surroundings,
    report: &mut Report<'_>,
) -> GatewayConfig {
    let bounds = bounds(&typed.bounds, report);
    let timeouts = timeouts(&typed.timeouts, report);
    let upstreams = check::upstreams::upstreams(typed.upstreams, report);
    let credentials = credentials(typed.credentials, report);
    let defaults = check::routes::Defaults {
        upstreams: &upstreams,
        credentials: &credentials,
        max_body: bounds.body,
        timeout: timeouts.request,
    };
    let routes = check::routes::routes(typed.routes, &defaults, report);
    report.within(
        "ledger.sync_interval",
        typed.ledger.sync_interval,
        Time::ms(10)..=Time::seconds(3600),
    );
    report.within(
        "ledger.max_size",
        typed.ledger.max_size,
        SMALLEST_LEDGER..=LARGEST_LEDGER,
    );
    report.within("cache.entries", typed.cache.entries, 1..=1_000_000_000);
    let id = typed
        .gateway
        .id
        .map_or_else(|| surroundings.host_name.clone(), |id| id.0);
    GatewayConfig {
        identity: check::identity::identity(typed.identity, &id, report),
        id,
        listen: Listen {
            proxy: typed.listen.proxy.0,
            admin: typed.listen.admin.0,
            authz: typed.listen.authz.map(|address| address.0),
            proxy_protocol: proxy_protocol(&typed.listen, &typed.trusted_proxies, report),
            tls: typed.listen.tls.map(|tls| listen_tls(tls, report)),
        },
        trusted_proxies: typed.trusted_proxies.iter().map(|block| block.0).collect(),
        control_plane: link(typed.control_plane, report),
        digest_key_file: typed.secrets.digest_key_file.map(|file| file.0),
        replica_path: typed.replica.path.0,
        ledger_path: typed.ledger.path.0,
        ledger_sync_interval: typed.ledger.sync_interval.0,
        ledger_max_size: typed.ledger.max_size.0,
        cache_entries: typed.cache.entries,
        staleness: staleness(&typed.sync, report),
        limiter: check::limiter::limiter(typed.limiter, report),
        credentials,
        timeouts,
        bounds,
        drain: drain(&typed.drain, report),
        workers: workers(typed.workers, surroundings, report),
        access_log: access_log(typed.access_log, report),
        documentation_url: typed.errors.documentation_url.0,
        upstreams,
        routes,
    }
}

fn proxy_protocol(typed: &typed::gateway::Listen, trusted: &[Block], report: &mut Report<'_>) -> bool {
    if typed.proxy_protocol && trusted.is_empty() {
        report.missing(
            "listen.proxy_protocol",
            "is believed of trusted proxies alone, and there is none; write trusted_proxies too, such as [\"10.0.0.0/8\"]",
        );
    }
    typed.proxy_protocol
}

fn listen_tls(typed: typed::gateway::ListenTls, report: &mut Report<'_>) -> ListenTls {
    let path = "listen.tls.certificates";
    if typed.certificates.is_empty() {
        report.missing(
            path,
            "there is none; write [{ cert_file = \"tls/api.pem\", key_file = \"tls/api.key\" }]",
        );
    }
    let mut certificates = Vec::with_capacity(typed.certificates.len());
    for (index, files) in typed.certificates.into_iter().enumerate() {
        match (files.cert_file, files.key_file) {
            (Some(cert_file), Some(key_file)) => certificates.push(CertificateFiles {
                cert_file: cert_file.0,
                key_file: key_file.0,
            }),
            (None, _) => report.missing(
                &format!("{path}[{index}].cert_file"),
                "is missing; write the PEM file of the certificate",
            ),
            (Some(_), None) => report.missing(
                &format!("{path}[{index}].key_file"),
                "is missing: cert_file needs its private key",
            ),
        }
    }
    if typed.client_certificates.is_some() && typed.client_ca_file.is_none() {
        report.missing(
            "listen.tls.client_certificates",
            "needs to know who may have signed them; write client_ca_file too",
        );
    }
    ListenTls {
        certificates,
        client_ca_file: typed.client_ca_file.map(|file| file.0),
        client_certificates: match typed.client_certificates {
            None | Some(word::ClientCertificates::Require) => ClientCertificates::Require,
            Some(word::ClientCertificates::Optional) => ClientCertificates::Optional,
        },
    }
}

fn workers(typed: Option<u64>, surroundings: &Surroundings, report: &mut Report<'_>) -> usize {
    let Some(workers) = typed else {
        return surroundings.processors.max(1);
    };
    report.within("workers", workers, 1..=1024);
    usize::try_from(workers).unwrap_or(1)
}

fn link(typed: typed::gateway::Link, report: &mut Report<'_>) -> ControlPlaneLink {
    let path = "control_plane.urls";
    let urls: Vec<String> = typed.urls.iter().map(ToString::to_string).collect();
    if urls.is_empty() {
        report.missing(path, "there is none; write [\"http://127.0.0.1:8082\"]");
    }
    if let Some(twice) = first_repeated(&urls) {
        report.wrong(path, format!("\"{twice}\" is there twice; remove one"));
    }
    if typed.tls.is_some() && !typed.urls.iter().any(|url| url.tls) {
        report.wrong(
            "control_plane.tls",
            "is for https addresses, and control_plane.urls has none; write \"https://…\" there, or remove it",
        );
    }
    ControlPlaneLink {
        urls,
        token_file: typed.token_file.0,
        tls: typed
            .tls
            .map(|tls| client_tls("control_plane.tls", tls, report))
            .unwrap_or_default(),
    }
}

/// The table at `path`.
pub(crate) fn client_tls(path: &str, typed: typed::gateway::ClientTls, report: &mut Report<'_>) -> ClientTls {
    let certificate = match (typed.cert_file, typed.key_file) {
        (Some(cert_file), Some(key_file)) => Some(CertificateFiles {
            cert_file: cert_file.0,
            key_file: key_file.0,
        }),
        (None, None) => None,
        (Some(_), None) => {
            report.missing(
                &format!("{path}.key_file"),
                "is missing: cert_file needs its private key",
            );
            None
        }
        (None, Some(_)) => {
            report.missing(
                &format!("{path}.cert_file"),
                "is missing: key_file is the key of a certificate",
            );
            None
        }
    };
    ClientTls {
        ca_file: typed.ca_file.map(|file| file.0),
        certificate,
        server_name: typed.server_name.map(|name| name.0),
    }
}

fn staleness(typed: &typed::gateway::Sync, report: &mut Report<'_>) -> Staleness {
    let then = match typed.when_stale {
        Stale::Serve => WhenStale::Serve,
        Stale::Deny => WhenStale::Deny,
    };
    match typed.max_staleness {
        // A heartbeat comes every second.
        Some(max) => report.within("sync.max_staleness", max, Time::seconds(1)..=A_YEAR),
        None if then == WhenStale::Deny => report.missing(
            "sync.when_stale",
            "\"deny\" needs to know when; write max_staleness too, such as \"3s\"",
        ),
        None => {}
    }
    Staleness {
        max: typed.max_staleness.map(|max| max.0),
        then,
    }
}

fn credentials(typed: typed::gateway::Credentials, report: &mut Report<'_>) -> Credentials {
    let names = |slot: Vec<CredentialHeader>| slot.into_iter().map(|name| name.0).collect::<Vec<_>>();
    let (account, customer) = (names(typed.account), names(typed.customer));
    let slots = [
        ("credentials.account", &account, "x-api-key"),
        ("credentials.customer", &customer, "x-customer-key"),
    ];
    for (path, slot, example) in slots {
        if slot.is_empty() {
            report.missing(path, format!("there is none; write [\"{example}\"]"));
        }
        if let Some(twice) = first_repeated(slot) {
            report.wrong(path, format!("\"{twice}\" is there twice; remove one"));
        }
    }
    if let Some(both) = customer.iter().find(|name| account.contains(name)) {
        report.wrong(
            "credentials.customer",
            format!("\"{both}\" carries the account key already; a header carries one of the two"),
        );
    } else if customer.iter().any(|name| name == "authorization") {
        report.wrong(
            "credentials.customer",
            "\"authorization\" carries account keys alone; write another such as \"x-customer-key\"",
        );
    }
    Credentials { account, customer }
}

/// The first that was there before.
pub(crate) fn first_repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    items
        .iter()
        .enumerate()
        .find_map(|(index, item)| items.iter().take(index).find(|earlier| *earlier == item))
}

fn timeouts(typed: &typed::bounds::Timeouts, report: &mut Report<'_>) -> Timeouts {
    let body_rate = typed.request_body_rate;
    report.within("timeouts.request_body_rate", body_rate, Size(1)..=Size(1 << 30));
    let mut checked = |key: &str, time: Time| -> Duration {
        report.within(&format!("timeouts.{key}"), time, Time::ms(1)..=A_YEAR);
        time.0
    };
    Timeouts {
        first_byte: checked("first_byte", typed.first_byte),
        handshake: checked("handshake", typed.handshake),
        request_headers: checked("request_headers", typed.request_headers),
        request_body_idle: checked("request_body_idle", typed.request_body_idle),
        request_body_rate: body_rate.0,
        write_stall: checked("write_stall", typed.write_stall),
        idle: checked("idle", typed.idle),
        http2_ping: checked("http2_ping", typed.http2_ping),
        upgraded_idle: checked("upgraded_idle", typed.upgraded_idle),
        connect: checked("connect", typed.connect),
        response_headers: checked("response_headers", typed.response_headers),
        request: checked("request", typed.request),
    }
}

fn bounds(typed: &typed::bounds::Bounds, report: &mut Report<'_>) -> Bounds {
    let mut counted = |key: &str, count: u64, most: u64| -> usize {
        report.within(&format!("bounds.{key}"), count, 1..=most);
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    let (connections, concurrent_requests, headers) = (
        counted("connections", typed.connections, 10_000_000),
        counted("concurrent_requests", typed.concurrent_requests, 10_000_000),
        counted("headers", typed.headers, 10_000),
    );
    report.within("bounds.head", typed.head, SMALLEST_HEAD..=Size(1 << 20));
    report.within("bounds.uri", typed.uri, Size(64)..=LONGEST_URI);
    if typed.uri > typed.head {
        report.wrong(
            "bounds.uri",
            format!(
                "{} is more than the {} of bounds.head, which it is part of",
                typed.uri, typed.head
            ),
        );
    }
    let mut small = |key: &str, count: u64, most: u64| -> u32 {
        report.within(&format!("bounds.{key}"), count, 1..=most);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Bounds {
        http2_streams: small("http2_streams", typed.http2_streams, 10_000),
        http2_resets: small("http2_resets", u64::from(typed.http2_resets.0), 1_000_000),
        http2_empty_frames: small(
            "http2_empty_frames",
            u64::from(typed.http2_empty_frames.0),
            10_000_000,
        ),
        http2_continuations: small("http2_continuations", typed.http2_continuations, 1_000),
        connections,
        concurrent_requests,
        headers,
        head: typed.head.in_memory(),
        uri: typed.uri.in_memory(),
        body: typed.body.0,
    }
}

fn drain(typed: &typed::gateway::Drain, report: &mut Report<'_>) -> Drain {
    report.within("drain.timeout", typed.timeout, Time::ms(0)..=A_DAY);
    report.within("drain.revoked", typed.revoked, Time::ms(0)..=A_DAY);
    Drain {
        timeout: typed.timeout.0,
        revoked: typed.revoked.0,
    }
}

fn access_log(typed: typed::gateway::AccessLog, report: &mut Report<'_>) -> AccessLog {
    if !(0.0..=1.0).contains(&typed.sample) {
        report.wrong(
            "access_log.sample",
            format!("{} is no share; write a number from 0.0 to 1.0", typed.sample),
        );
    }
    AccessLog {
        path: typed.path.map(|path| path.0),
        sample: typed.sample,
        refusals: typed.refusals,
    }
}
