//! An OpenID Connect issuer for tests: a real HTTP server with a discovery document and a key set, and real signatures.
//!
//! It signs with another library than the one under test proves with. It can rotate its keys, be away, be broken or hang,
//! and counts what it was asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// With which of the issuer's three keys a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// RSA with 2048 bits.
    Rs256,
    /// P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Signed {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// How the issuer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// It closes every connection.
    Down,
    /// It answers with 500.
    Broken,
    /// It takes calls and never answers.
    Hanging,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    jwk: Value,
}

struct Keys {
    generation: u32,
    signing: [Key; 3],
}

struct Shared {
    url: String,
    keys: Mutex<Keys>,
    state: Mutex<State>,
    /// Laid over the discovery document.
    discovery: Mutex<Value>,
    asked: AtomicU64,
}

/// A running issuer; ends when it is dropped.
pub struct Issuer {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.shared.url)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Issuer {
    /// Starts one on a free port, with three fresh keys.
    ///
    /// # Errors
    /// When there is no port, or no randomness.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            url,
            keys: Mutex::new(Keys::make(1)?),
            state: Mutex::new(State::Up),
            discovery: Mutex::new(json!({})),
            asked: AtomicU64::new(0),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, server })
    }

    /// Its address: the `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// How often its key set was asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Lets it be as it is told.
    pub fn be(&self, state: State) {
        *locked(&self.shared.state) = state;
    }

    /// Lets its discovery document say this instead.
    pub fn discover(&self, over: Value) {
        *locked(&self.shared.discovery) = over;
    }

    /// Replaces all keys; what was signed before is nobody's.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn rotate(&self) -> anyhow::Result<()> {
        let mut keys = locked(&self.shared.keys);
        *keys = Keys::make(keys.generation + 1)?;
        Ok(())
    }

    /// A good token that says this, signed with RSA.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token(&self, claims: &Value) -> anyhow::Result<String> {
        self.signed(Signed::Rs256, claims)
    }

    /// A good token that says this.
    ///
    /// # Errors
    /// When signing fails.
    pub fn signed(&self, by: Signed, claims: &Value) -> anyhow::Result<String> {
        self.with_header(by, &json!({"typ": "JWT"}), claims)
    }

    /// A token with these members in its header, over the usual ones; one that is null is left out.
    ///
    /// # Errors
    /// When signing fails.
    pub fn with_header(&self, by: Signed, over: &Value, claims: &Value) -> anyhow::Result<String> {
        let keys = locked(&self.shared.keys);
        let key = keys.of(by);
        let mut header = json!({"alg": by.name(), "kid": key.id});
        lay_over(&mut header, over);
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.encoding, by.algorithm())?;
        Ok(format!("{message}.{signature}"))
    }

    /// A forgery: HMAC with a public key as its secret, which everybody knows.
    ///
    /// # Errors
    /// When signing fails.
    pub fn forged_with_public_key(&self, by: Signed, claims: &Value) -> anyhow::Result<String> {
        let keys = locked(&self.shared.keys);
        let key = keys.of(by);
        let header = json!({"alg": "HS256", "kid": key.id, "typ": "JWT"});
        let message = format!("{}.{}", part(&header), part(claims));
        let member = key.jwk.get("n").or_else(|| key.jwk.get("x"));
        let public = member
            .and_then(Value::as_str)
            .context("a key without a public part")?;
        let secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(public)?);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256)?;
        Ok(format!("{message}.{signature}"))
    }

    /// The public part of a key.
    #[must_use]
    pub fn jwk(&self, of: Signed) -> Value {
        locked(&self.shared.keys).of(of).jwk.clone()
    }
}

impl Keys {
    fn make(generation: u32) -> anyhow::Result<Self> {
        let id = |name: &str| format!("{name}-{generation}");
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);

        let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let secret: Pkcs8V1Der<'_> = pair.as_der()?;
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let rsa = Key {
            id: id("rsa"),
            encoding: EncodingKey::from_rsa_pem(&pem(secret.as_ref()))?,
            jwk: json!({"kty": "RSA", "kid": id("rsa"), "use": "sig", "alg": "RS256",
                "n": encoded(&public.n), "e": encoded(&public.e)}),
        };

        let random = SystemRandom::new();
        let secret = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret.as_ref())?;
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .strip_prefix(&[4])
            .and_then(|both| both.split_at_checked(32))
            .context("no uncompressed point")?;
        let p256 = Key {
            id: id("p256"),
            encoding: EncodingKey::from_ec_pem(&pem(secret.as_ref()))?,
            jwk: json!({"kty": "EC", "crv": "P-256", "kid": id("p256"), "use": "sig",
                "x": encoded(x), "y": encoded(y)}),
        };

        let secret = Ed25519KeyPair::generate_pkcs8v1(&random)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(secret.as_ref())?;
        let ed25519 = Key {
            id: id("ed25519"),
            encoding: EncodingKey::from_ed_der(secret.as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": id("ed25519"),
                "x": encoded(pair.public_key().as_ref())}),
        };
        Ok(Self {
            generation,
            signing: [rsa, p256, ed25519],
        })
    }

    fn of(&self, by: Signed) -> &Key {
        let [rsa, p256, ed25519] = &self.signing;
        match by {
            Signed::Rs256 => rsa,
            Signed::Es256 => p256,
            Signed::EdDsa => ed25519,
        }
    }

    /// As a real issuer's: with keys that are not for us.
    fn set(&self) -> Value {
        let [rsa, p256, ed25519] = &self.signing;
        json!({"keys": [
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"},
            {"kty": "EC", "crv": "P-521", "kid": "large", "x": "AA", "y": "AA"},
            rsa.jwk, p256.jwk, ed25519.jwk,
        ]})
    }
}

fn pem(der: &[u8]) -> Vec<u8> {
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    )
    .into_bytes()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn lay_over(value: &mut Value, over: &Value) {
    let (Some(members), Some(over)) = (value.as_object_mut(), over.as_object()) else {
        return;
    };
    for (name, member) in over {
        if member.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), member.clone());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A client that is gone is no matter.
        tokio::spawn(async move { answer(stream, &shared).await.ok() });
    }
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let state = *locked(&shared.state);
    match state {
        State::Down => return Ok(()),
        State::Hanging => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            return Ok(());
        }
        State::Up | State::Broken => {}
    }
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        anyhow::ensure!(head.len() < 16 * 1024, "too long a head");
        anyhow::ensure!(stream.read_buf(&mut head).await? > 0, "no whole head");
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let document = match path {
        "/.well-known/openid-configuration" => {
            let mut document = json!({"issuer": shared.url, "jwks_uri": format!("{}/keys", shared.url)});
            lay_over(&mut document, &locked(&shared.discovery));
            Some(document)
        }
        "/keys" => {
            shared.asked.fetch_add(1, Ordering::Relaxed);
            Some(locked(&shared.keys).set())
        }
        _ => None,
    };
    let (status, body) = match (state, document) {
        (State::Up, Some(document)) => ("200 OK", document.to_string()),
        (State::Up, None) => ("404 Not Found", String::new()),
        _ => ("500 Internal Server Error", String::new()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
