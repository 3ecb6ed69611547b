//! nginx as the gateway's peer: three servers in one worker, from a bare proxy to the gateway's whole work.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use keyward_harness::{Nginx, free_address};

/// A running nginx and the addresses of its servers.
#[derive(Debug)]
pub struct NginxPeer {
    /// The processes.
    pub nginx: Nginx,
    /// Forwards every call.
    pub plain: SocketAddr,
    /// Looks the key up in a map and limits the rate of each.
    pub checked: SocketAddr,
    /// The same, and writes what the gateway writes: forwarding, request id and identity to the upstream,
    /// request id and limit to the client.
    pub with_headers: SocketAddr,
}

impl NginxPeer {
    /// Starts it on one core, before `upstream`, with these keys.
    ///
    /// # Errors
    /// When nginx is missing or doesn't start.
    pub async fn start<'a>(
        folder: &Path,
        upstream: SocketAddr,
        core: usize,
        keys: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let (plain, checked, with_headers) = (free_address()?, free_address()?, free_address()?);
        let mut map = String::new();
        for (number, key) in keys.enumerate() {
            writeln!(map, "\"{key}\" \"account-{number}\";")?;
        }
        std::fs::write(folder.join("keys.map"), map)?;
        let http = configuration(folder, upstream, [plain, checked, with_headers]);
        let nginx = Nginx::start(folder, &http, core, &format!("http://{plain}/")).await?;
        Ok(Self {
            nginx,
            plain,
            checked,
            with_headers,
        })
    }
}

/// The rate is one that nobody reaches: looked up and counted for every call, and never refusing one.
fn configuration(folder: &Path, upstream: SocketAddr, servers: [SocketAddr; 3]) -> String {
    let [plain, checked, with_headers] = servers;
    let folder = folder.display();
    let forward = "proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection \"\";";
    let check = "if ($account = \"\") { return 401; } limit_req zone=keys burst=1000000 nodelay;";
    format!(
        r#"http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map_hash_max_size 262144;
    map_hash_bucket_size 128;
    map $http_x_api_key $account {{ default ""; include {folder}/keys.map; }}
    limit_req_zone $account zone=keys:64m rate=1000000r/s;
    upstream api {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 600s; }}
    server {{ listen {plain}; location / {{ {forward} }} }}
    server {{ listen {checked}; location / {{ {check} {forward} }} }}
    server {{
        listen {with_headers};
        location / {{
            {check}
            {forward}
            proxy_set_header Host $host;
            proxy_set_header X-Api-Key "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header Forwarded "for=$remote_addr;host=$host;proto=$scheme";
            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header Keyward-Account $account;
            proxy_set_header Keyward-Environment production;
            proxy_set_header Keyward-Key-Id $account;
            proxy_set_header Keyward-Tier loadtest;
            add_header X-Request-Id $request_id;
            add_header X-RateLimit-Limit 1000000;
        }}
    }}
}}"#
    )
}
