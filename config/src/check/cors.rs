//! `routes.cors`: origins, methods and headers that can be meant.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::check::gateway::first_repeated;
use crate::check::routes::method;
use crate::gateway::{AllowedHeaders, Cors, Credentials, HeaderRules, OriginPattern};
use crate::leaf::short;
use crate::leaf::unit::Time;
use crate::report::Report;
use crate::typed;

/// No browser remembers a preflight for longer.
const LONGEST: Time = Time::seconds(86_400);
const USUAL: Time = Time::seconds(600);

/// What a route says beside its `cors`.
pub(crate) struct Beside<'a> {
    /// Its path in the file.
    pub(crate) at: &'a str,
    /// Its methods; `None`: every one.
    pub(crate) methods: Option<&'a [Method]>,
    /// Its header rules.
    pub(crate) headers: &'a HeaderRules,
    /// `credentials`.
    pub(crate) credentials: &'a Credentials,
}

/// What the route's `cors` means.
pub(crate) fn cors(
    typed: Option<typed::route::Cors>,
    beside: &Beside<'_>,
    report: &mut Report<'_>,
) -> Option<Cors> {
    let typed = typed?;
    let at = format!("{}.cors", beside.at);
    let origins = origins(&at, &typed, report);
    check_rules(&at, beside.headers, report);
    let max_age = typed.max_age.unwrap_or(USUAL);
    report.within(&format!("{at}.max_age"), max_age, Time::ms(0)..=LONGEST);
    let expose = expose(&at, &typed, report);
    let headers = allowed_headers(&at, typed.headers.as_deref(), beside.credentials, report);
    Some(Cors {
        origins,
        methods: methods(&at, typed.methods.as_deref(), beside.methods, report),
        headers,
        expose,
        credentials: typed.credentials,
        max_age: Duration::from_secs(max_age.0.as_secs()),
    })
}

fn origins(at: &str, typed: &typed::route::Cors, report: &mut Report<'_>) -> Vec<OriginPattern> {
    let path = format!("{at}.origins");
    if typed.origins.is_empty() {
        report.missing(&path, "there is none; write [\"https://app.example\"]");
    }
    if let Some(twice) = first_repeated(&typed.origins) {
        report.wrong(&path, format!("\"{twice}\" is there twice; remove one"));
    }
    let origins: Vec<_> = typed.origins.iter().map(|origin| origin.0.clone()).collect();
    if origins.contains(&OriginPattern::Any) {
        if origins.len() > 1 {
            report.wrong(&path, "\"*\" is every origin already; remove the others, or it");
        }
        if typed.credentials {
            report.wrong(
                &format!("{at}.credentials"),
                "true lets any page act with its visitor's credentials when origins has \"*\"; list the origins, or remove it",
            );
        }
    }
    origins
}

/// The gateway says all of it here; a rule could only contradict.
fn check_rules(at: &str, headers: &HeaderRules, report: &mut Report<'_>) {
    let changes = &headers.response;
    let set = changes.set.iter().chain(&changes.add).map(|(name, _)| name);
    let both = set
        .chain(&changes.remove)
        .find(|name| name.as_str().starts_with("access-control-"));
    if let Some(name) = both {
        report.wrong(
            at,
            format!("says what \"{name}\" says, and headers.response has a rule for it; remove one"),
        );
    }
}

fn methods(
    at: &str,
    typed: Option<&[crate::leaf::word::Verb]>,
    of_route: Option<&[Method]>,
    report: &mut Report<'_>,
) -> Vec<Method> {
    let usual = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let Some(verbs) = typed else {
        return of_route.unwrap_or(&usual).to_vec();
    };
    let path = format!("{at}.methods");
    if verbs.is_empty() {
        report.missing(
            &path,
            "there is none; write [\"GET\"], or remove it for those of the route",
        );
    }
    if let Some(twice) = first_repeated(verbs) {
        report.wrong(&path, format!("\"{twice}\" is there twice; remove one"));
    }
    let methods: Vec<Method> = verbs.iter().map(method).collect();
    let is_foreign = |method: &&Method| {
        of_route.is_some_and(|taken| {
            let is_head = **method == Method::HEAD && taken.contains(&Method::GET);
            !taken.contains(method) && !is_head
        })
    };
    if let Some(foreign) = methods.iter().find(is_foreign) {
        report.wrong(
            &path,
            format!("\"{foreign}\" is none of the route's methods; remove it, or add it there"),
        );
    }
    methods
}

fn allowed_headers(
    at: &str,
    typed: Option<&[String]>,
    credentials: &Credentials,
    report: &mut Report<'_>,
) -> AllowedHeaders {
    let Some(typed) = typed else {
        let usual = ["content-type", "x-request-id"].map(str::to_owned);
        let names = credentials.account.iter().chain(&credentials.customer);
        let names = names.chain(&usual);
        return AllowedHeaders::Listed(
            names
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect(),
        );
    };
    if typed.iter().any(|name| name == "*") {
        if typed.len() > 1 {
            report.wrong(
                &format!("{at}.headers"),
                "\"*\" is every header already; remove the others, or it",
            );
        }
        return AllowedHeaders::Any;
    }
    AllowedHeaders::Listed(names(&format!("{at}.headers"), typed, report))
}

fn expose(at: &str, typed: &typed::route::Cors, report: &mut Report<'_>) -> Vec<HeaderName> {
    let path = format!("{at}.expose");
    if typed.expose.iter().any(|name| name == "*") {
        report.wrong(
            &path,
            "\"*\" shows pages headers that nobody thought of; list them",
        );
        return Vec::new();
    }
    names(&path, &typed.expose, report)
}

fn names(path: &str, typed: &[String], report: &mut Report<'_>) -> Vec<HeaderName> {
    let mut names = Vec::with_capacity(typed.len());
    for (index, text) in typed.iter().enumerate() {
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) => names.push(name),
            Err(_) => report.wrong(
                &format!("{path}[{index}]"),
                format!(
                    "\"{}\" is no header name; write one such as \"content-type\"",
                    short(text)
                ),
            ),
        }
    }
    if let Some(twice) = first_repeated(&names) {
        report.wrong(path, format!("\"{twice}\" is there twice; remove one"));
    }
    names
}
