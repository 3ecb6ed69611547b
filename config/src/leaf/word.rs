//! Settings that are one word of a few.

use crate::leaf::later::NOT_YET;
use crate::wording;

/// Makes an enum that is written as a word. Words after `later` are known, and refused by this version.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ } later [$($later:literal),*]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(refused(other, &[$($word),+], &[$($later),*])),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }

        impl $crate::leaf::Text for $name {
            const EXPECTED: &'static str = concat!("one of" $(, " \"", $word, "\"")+);
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::leaf::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

fn refused(typed: &str, now: &[&str], later: &[&str]) -> String {
    if !later.contains(&typed) {
        return wording::not_a_word(typed, now);
    }
    format!("\"{typed}\" {NOT_YET} or write {}", wording::either(now))
}

words! {
    /// `listen.tls.client_certificates`.
    ClientCertificates {
        /// Without one a client is turned away.
        Require = "require",
        /// A client may come without one.
        Optional = "optional",
    } later []
}

words! {
    /// `limiter.mode`.
    LimiterMode {
        /// Buckets in this process.
        Local = "local",
        /// Buckets in Redis, tokens taken in slices.
        Leased = "leased",
        /// Buckets in Redis, tokens taken one by one.
        Exact = "exact",
    } later []
}

words! {
    /// `limiter.fallback` and a tier's own.
    Fallback {
        /// The rate, shared by the live gateways.
        Share = "share",
        /// Every call passes.
        Allow = "allow",
        /// No call passes.
        Deny = "deny",
    } later []
}

impl From<Fallback> for keyward_contract::Fallback {
    fn from(typed: Fallback) -> Self {
        match typed {
            Fallback::Share => Self::Share,
            Fallback::Allow => Self::Allow,
            Fallback::Deny => Self::Deny,
        }
    }
}

words! {
    /// `upstreams.protocol`.
    Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 in clear text, without asking first.
        H2c = "h2c",
        /// HTTP/2 over TLS.
        H2 = "h2",
    } later []
}

words! {
    /// `upstreams.balance`.
    Balance {
        /// One endpoint after the other.
        RoundRobin = "round-robin",
    } later ["least-request", "consistent-hash"]
}

words! {
    /// `routes.mode` and `tiers.mode`.
    LimitMode {
        /// Limits refuse.
        Enforce = "enforce",
        /// Limits only count.
        Shadow = "shadow",
    } later []
}

impl From<LimitMode> for keyward_contract::LimitMode {
    fn from(typed: LimitMode) -> Self {
        match typed {
            LimitMode::Enforce => Self::Enforce,
            LimitMode::Shadow => Self::Shadow,
        }
    }
}

words! {
    /// `sync.when_stale`.
    Stale {
        /// Serve on.
        Serve = "serve",
        /// Refuse what needs a key.
        Deny = "deny",
    } later []
}

words! {
    /// `leaks.policy`.
    Leak {
        /// The key is disabled.
        Quarantine = "quarantine",
        /// The key is revoked.
        Revoke = "revoke",
        /// The key goes on.
        Report = "report",
    } later []
}

words! {
    /// `routes.require`.
    Credential {
        /// Account key and, in production, customer key.
        Customer = "customer",
        /// Account key alone.
        Account = "account",
        /// Customer key alone.
        CustomerOnly = "customer-only",
        /// Nothing.
        None = "none",
    } later []
}

words! {
    /// `routes.encoded_slashes`.
    Slashes {
        /// They are 400.
        Refuse = "refuse",
        /// They are kept as they are.
        Keep = "keep",
    } later []
}

words! {
    /// One of `routes.environments`.
    Served {
        /// The billed one.
        Production = "production",
        /// The free one.
        Test = "test",
    } later []
}

words! {
    /// One of `routes.methods`.
    Verb {
        /// `GET`.
        Get = "GET",
        /// `HEAD`.
        Head = "HEAD",
        /// `POST`.
        Post = "POST",
        /// `PUT`.
        Put = "PUT",
        /// `PATCH`.
        Patch = "PATCH",
        /// `DELETE`.
        Delete = "DELETE",
        /// `OPTIONS`.
        Options = "OPTIONS",
    } later []
}
