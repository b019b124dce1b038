//! A registry, read-only (distribution-spec, "Pull").
//!
//! Plain HTTP goes to loopback names alone, and never as a way out of a TLS failure. Credentials go to the
//! registry and to the token server that it names over TLS (or on loopback), never along with a redirect to
//! another host.

use std::cell::RefCell;
use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::auth::{Challenge, parse_challenge, stored_credentials};
use super::digest::Digest;
use super::reference::Reference;
use super::store::DOCUMENT_LIMIT;
use crate::error::{Context, Error, Kind, Result};

/// What we ask for and understand.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const REDIRECTS: usize = 5;

/// One repository of one registry.
pub struct Registry {
    agent: Agent,
    base: String,
    repository: String,
    credentials: Option<String>,
    authorization: RefCell<Option<String>>,
}

/// Whether a host (with or without port) is this machine by its name or address.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Registry {
    /// The repository that a reference names.
    pub fn of(reference: &Reference) -> Registry {
        let host = match reference.registry() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
            .build();
        Registry {
            agent: config.into(),
            base: format!("{scheme}://{host}"),
            repository: reference.repository().to_owned(),
            credentials: stored_credentials(reference.registry()),
            authorization: RefCell::new(None),
        }
    }

    /// A manifest or index, by tag or digest: its bytes and its digest.
    pub fn manifest(&self, wanted: &str) -> Result<(Vec<u8>, Digest)> {
        let path = format!("/v2/{}/manifests/{wanted}", self.repository);
        let response = self.get(&path, MANIFESTS).context("fetch manifest")?;
        let mut bytes = Vec::new();
        let read = response.into_body().into_reader().take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes);
        read.context("fetch manifest")?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(Error::new(Kind::Integrity, "the manifest is longer than 4 MiB"));
        }
        let digest = Digest::of(&bytes);
        if let Ok(expected) = wanted.parse::<Digest>()
            && expected != digest
        {
            return Err(Error::new(
                Kind::Integrity,
                format!("digest mismatch: asked for {expected}, got {digest}"),
            ));
        }
        Ok((bytes, digest))
    }

    /// A blob's bytes, not checked yet.
    pub fn blob(&self, digest: &Digest) -> Result<impl Read + use<>> {
        let path = format!("/v2/{}/blobs/{digest}", self.repository);
        let response = self.get(&path, "*/*").with_context(|| format!("fetch blob {}", digest.short()))?;
        Ok(response.into_body().into_reader())
    }

    fn get(&self, path: &str, accept: &str) -> Result<Response<Body>> {
        let mut response = self.follow(path, accept)?;
        if response.status() == 401 {
            let header = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
            let challenge = header.and_then(parse_challenge);
            *self.authorization.borrow_mut() = self.answer(challenge)?;
            response = self.follow(path, accept)?;
        }
        let status = response.status().as_u16();
        match status {
            200 => Ok(response),
            401 | 403 => {
                Err(Error::new(Kind::Unauthorized, format!("{} denies access ({status})", self.base)))
            }
            404 => Err(Error::new(Kind::NotFound, "not found in the registry")),
            _ => Err(Error::new(Kind::Unavailable, format!("{} answers {status}", self.base))),
        }
    }

    /// A GET that goes along with redirects. Only the registry itself sees our credentials.
    fn follow(&self, path: &str, accept: &str) -> Result<Response<Body>> {
        let mut url = format!("{}{path}", self.base);
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&url).header("Accept", accept);
            let authorization = self.authorization.borrow().clone();
            if let Some(value) = authorization.filter(|_| url.starts_with(&format!("{}/", self.base))) {
                request = request.header("Authorization", value);
            }
            let response = request.call().map_err(|error| unavailable(&self.base, &error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location =
                response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
            url = self.resolve(location)?;
        }
        Err(Error::new(Kind::Unavailable, format!("{} redirects without end", self.base)))
    }

    fn resolve(&self, location: &str) -> Result<String> {
        if location.starts_with('/') {
            return Ok(format!("{}{location}", self.base));
        }
        let uri: Uri = location
            .parse()
            .map_err(|_| Error::new(Kind::Unavailable, format!("bad redirect to {location:?}")))?;
        let safe = uri.scheme_str() == Some("https") || uri.host().is_some_and(is_loopback);
        if safe {
            Ok(location.to_owned())
        } else {
            Err(Error::new(Kind::Unavailable, format!("unsafe redirect to {location:?}")))
        }
    }

    /// The Authorization header that answers a challenge.
    fn answer(&self, challenge: Option<Challenge>) -> Result<Option<String>> {
        let basic = self.credentials.as_ref().map(|value| format!("Basic {value}"));
        let Some(Challenge::Bearer { realm, service }) = challenge else { return Ok(basic) };
        let realm = self.resolve(&realm).context("ask for a token")?;
        let mut request =
            self.agent.get(&realm).query("scope", format!("repository:{}:pull", self.repository));
        if let Some(service) = service {
            request = request.query("service", service);
        }
        if let Some(basic) = basic {
            request = request.header("Authorization", basic);
        }
        let response =
            request.call().map_err(|error| unavailable(&realm, &error)).context("ask for a token")?;
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(1 << 20)
            .read_to_end(&mut bytes)
            .context("ask for a token")?;
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = document["token"].as_str().or(document["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }
}

fn unavailable(whom: &str, error: &ureq::Error) -> Error {
    Error::new(Kind::Unavailable, format!("{whom}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.3.2.1", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.evil.test", "registry.test:5000", "10.0.0.1", "[2001:db8::1]:5000"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
