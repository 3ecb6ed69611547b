//! What is said once everything is ready: for people, or as one JSON line.
//!
//! Keys are shown on the first start alone, when they were just made. They are kept nowhere in clear.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use keyward_config::StandaloneConfig;
use keyward_contract::Environment;
use keyward_control_plane::operations::bootstrap::{Credentials, EnvironmentCredentials};
use serde_json::{Value, json};

use crate::standalone::example::{self, Example, Keys};
use crate::standalone::ports::reachable;

/// Where everything answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// Partners' calls.
    pub(crate) gateway: SocketAddr,
    /// The gateway's health and metrics.
    pub(crate) gateway_admin: SocketAddr,
    /// The REST surfaces and the portal.
    pub(crate) control_plane: SocketAddr,
    /// The gateways' streams.
    pub(crate) sync: SocketAddr,
    /// The control plane's health and metrics.
    pub(crate) control_plane_admin: SocketAddr,
    /// The sample upstream, when it runs.
    pub(crate) upstream: Option<SocketAddr>,
}

/// What there is to say.
#[derive(Debug)]
pub(crate) struct Announcement<'a> {
    /// Where everything answers.
    pub(crate) addresses: Addresses,
    /// What runs.
    pub(crate) config: &'a StandaloneConfig,
    /// The keys that were just made.
    pub(crate) credentials: Option<Credentials>,
}

impl Announcement<'_> {
    /// One line for programs.
    pub(crate) fn json(&self) -> Value {
        let addresses = &self.addresses;
        let mut line = json!({
            "gateway": url(addresses.gateway),
            "gateway_admin": url(addresses.gateway_admin),
            "control_plane": url(addresses.control_plane),
            "sync": url(addresses.sync),
            "control_plane_admin": url(addresses.control_plane_admin),
            "upstream": addresses.upstream.map(url),
        });
        if let (Some(made), Some(line)) = (&self.credentials, line.as_object_mut()) {
            let demo = json!({
                "admin_key": made.admin_key.expose(),
                "account_id": made.account_id,
                "production": environment(&made.production),
                "test": environment(&made.test),
            });
            line.insert("demo".to_owned(), demo);
        }
        line
    }

    /// A page for people.
    pub(crate) fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        self.write_addresses(page)?;
        let example = Example::of(&self.config.gateway, reachable(self.addresses.gateway));
        let environment = example
            .as_ref()
            .map_or(Environment::Production, Example::environment);
        let keys = self.keys(environment);
        writeln!(page, "\nTry it:\n")?;
        if let Some(example) = &example {
            writeln!(page, "  # a call through the gateway")?;
            writeln!(page, "  {}\n", example.accepted(keys))?;
            if let Some(refused) = example.refused() {
                writeln!(page, "  # the same without keys, which is refused")?;
                writeln!(page, "  {refused}\n")?;
            }
        }
        writeln!(page, "  # your end customers, on the portal API")?;
        writeln!(
            page,
            "  {}\n",
            example::portal(reachable(self.addresses.control_plane), keys.account)
        )?;
        match &self.credentials {
            Some(made) => write_made(page, made),
            None => self.write_lost(page),
        }?;
        writeln!(page, "\nCtrl-C stops.")
    }

    fn write_addresses(&self, page: &mut String) -> std::fmt::Result {
        let addresses = &self.addresses;
        let at = |address| url(reachable(address));
        writeln!(page, "\nKeyward is ready.\n")?;
        writeln!(page, "  gateway                {}", at(addresses.gateway))?;
        writeln!(page, "  portal and REST        {}", at(addresses.control_plane))?;
        writeln!(page, "  sync                   {}", at(addresses.sync))?;
        if let Some(upstream) = addresses.upstream {
            writeln!(page, "  sample upstream        {}", at(upstream))?;
        }
        writeln!(
            page,
            "  gateway's metrics      {}/metrics",
            at(addresses.gateway_admin)
        )?;
        writeln!(
            page,
            "  control plane's        {}/metrics",
            at(addresses.control_plane_admin)
        )?;
        writeln!(
            page,
            "  data                   {}",
            self.config.data_dir.display()
        )
    }

    fn keys(&self, environment: Environment) -> Keys<'_> {
        let Some(made) = &self.credentials else {
            return Keys::VARIABLES;
        };
        let made = match environment {
            Environment::Production => &made.production,
            Environment::Test => &made.test,
        };
        Keys {
            account: made.account_key.expose(),
            customer: made.customer_key.expose(),
        }
    }

    /// How to come by keys when those of the first start are lost.
    fn write_lost(&self, page: &mut String) -> std::fmt::Result {
        let api = reachable(self.addresses.control_plane);
        writeln!(
            page,
            "The keys were shown on the first start of this data folder, and are kept nowhere in clear."
        )?;
        writeln!(page, "If you have them no more, make new ones:\n")?;
        writeln!(page, "  # an operator's key")?;
        writeln!(
            page,
            "  ADMIN_KEY=$({})\n",
            admin_key_command(&self.config.data_dir)
        )?;
        writeln!(
            page,
            "  # which accounts there are, and a new key for one of them"
        )?;
        writeln!(
            page,
            "  curl \"http://{api}/admin/customers\" -H \"x-api-key: $ADMIN_KEY\""
        )?;
        writeln!(
            page,
            "  curl -X POST \"http://{api}/admin/customers/$CUSTOMER_ID/api-keys\" -H \"x-api-key: $ADMIN_KEY\" -H \"Content-Type: application/json\" -d '{{}}'\n"
        )?;
        writeln!(page, "  # an end customer's key is shown whenever you ask")?;
        writeln!(
            page,
            "  {}",
            example::portal(api, Keys::VARIABLES.account)
                .replace("/v1/customers", "/v1/customers/$END_CUSTOMER_ID")
        )
    }
}

fn write_made(page: &mut String, made: &Credentials) -> std::fmt::Result {
    let rows = [
        ("admin key", made.admin_key.expose()),
        ("demo account", &made.account_id),
        ("  production", made.production.account_key.expose()),
        ("    end customer", &made.production.customer_id),
        ("    its key", made.production.customer_key.expose()),
        ("  test", made.test.account_key.expose()),
        ("    end customer", &made.test.customer_id),
        ("    its key", made.test.customer_key.expose()),
    ];
    writeln!(
        page,
        "These were just made. Keep them: they are not shown again.\n"
    )?;
    rows.iter()
        .try_for_each(|(name, value)| writeln!(page, "  {name:<21}  {value}"))
}

fn environment(made: &EnvironmentCredentials) -> Value {
    json!({
        "account_key": made.account_key.expose(),
        "customer_id": made.customer_id,
        "customer_key": made.customer_key.expose(),
    })
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The command that makes an operator's key in this data folder; with the shell's quotes where they are needed.
fn admin_key_command(data_dir: &Path) -> String {
    let make = "keyward-control-plane admin-key create --config /dev/null --name me --role owner";
    if data_dir == Path::new("keyward-data") {
        return make.to_owned();
    }
    let file = |name: &str| quoted(&data_dir.join(name).display().to_string());
    let database = quoted(&format!(
        "sqlite://{}",
        data_dir.join("control-plane.db").display()
    ));
    format!(
        "KEYWARD__DATABASE__URL={database} KEYWARD__SECRETS__MASTER_KEY_FILE={} KEYWARD__SECRETS__DIGEST_KEY_FILE={} KEYWARD__SECRETS__GATEWAY_TOKEN_FILE={} {make}",
        file("secrets/master-key"),
        file("secrets/digest-key"),
        file("secrets/gateway-token"),
    )
}

/// As one word of the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use keyward_config::Surroundings;
    use keyward_contract::{KeyKind, PlainKey};

    use super::*;

    fn config() -> StandaloneConfig {
        let data_dir = Path::new("keyward-data");
        StandaloneConfig::from_toml("", "standalone.toml", data_dir, &Surroundings::default()).unwrap()
    }

    fn addresses() -> Addresses {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Addresses {
            gateway: at(8080),
            gateway_admin: at(9090),
            control_plane: at(8081),
            sync: at(8082),
            control_plane_admin: at(9091),
            upstream: Some(at(8089)),
        }
    }

    fn made() -> Credentials {
        let key = |kind, environment| PlainKey::mint(kind, environment).unwrap();
        let environment = |environment| EnvironmentCredentials {
            account_key: key(KeyKind::Account, environment),
            customer_id: "clx8f2k9h0001qr5tgvwxyz12".to_owned(),
            customer_key: key(KeyKind::Customer, environment),
        };
        Credentials {
            admin_key: key(KeyKind::Admin, Environment::Production),
            account_id: "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e".to_owned(),
            production: environment(Environment::Production),
            test: environment(Environment::Test),
        }
    }

    fn announcement(credentials: Option<Credentials>, config: &StandaloneConfig) -> Announcement<'_> {
        Announcement {
            addresses: addresses(),
            config,
            credentials,
        }
    }

    #[test]
    fn the_json_line_has_the_addresses_and_what_was_made() {
        let config = config();
        let first = announcement(Some(made()), &config).json();
        assert_eq!(first["gateway"], "http://127.0.0.1:8080");
        assert_eq!(first["upstream"], "http://127.0.0.1:8089");
        for environment in ["production", "test"] {
            let keys = &first["demo"][environment];
            for key in ["account_key", "customer_key"] {
                assert!(PlainKey::parse(keys[key].as_str().unwrap()).is_ok());
            }
        }
        assert!(!first.to_string().contains('\n'));
        let second = announcement(None, &config).json();
        assert!(second.get("demo").is_none());
    }

    #[test]
    fn the_first_page_has_three_calls_with_real_keys() {
        let config = config();
        let credentials = made();
        let account = credentials.production.account_key.expose().to_owned();
        let page = announcement(Some(credentials), &config).text();
        let calls: Vec<_> = page.lines().filter(|line| line.starts_with("  curl ")).collect();
        assert_eq!(calls.len(), 3, "{page}");
        assert!(calls[0].contains(&account) && !calls[1].contains(&account) && calls[2].contains(&account));
        assert!(!page.contains("$ACCOUNT_KEY"), "{page}");
    }

    #[test]
    fn a_later_page_says_how_to_come_by_keys() {
        let config = config();
        let page = announcement(None, &config).text();
        assert!(page.contains("Bearer $ACCOUNT_KEY"), "{page}");
        assert!(page.contains("admin-key create --config /dev/null"), "{page}");
    }

    #[test]
    fn another_data_folder_is_named_in_the_command() {
        let command = admin_key_command(Path::new("/var/lib/key ward"));
        assert!(
            command.starts_with("KEYWARD__DATABASE__URL='sqlite:///var/lib/key ward/control-plane.db' "),
            "{command}"
        );
    }
}
