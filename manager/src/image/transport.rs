//! HTTP to registries. Plain HTTP goes to this machine alone; everybody else is spoken to by TLS,
//! and a failure there is a failure, not a reason to try without. Redirects are followed here and
//! not by the client library, because what goes along changes on the way: credentials stay with
//! the host they were meant for, and a redirect never leads from TLS to plain HTTP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::durable;
use crate::error::{Context, Error, Kind, Result};

const REDIRECTS: usize = 5;
const CONNECT: Duration = Duration::from_secs(20);
/// How long a registry may think, and how long a connection may stand still.
const SILENCE: Duration = Duration::from_secs(60);
/// Where administrators put a registry's certificate authority; the second is Docker's.
const CERTIFICATES: [&str; 2] = ["/etc/wharf/certs.d", "/etc/docker/certs.d"];
/// Debian's bundle of authorities, used unless `SSL_CERT_FILE` names another.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Connections to any number of hosts.
#[derive(Debug, Default)]
pub struct Transport {
    /// One client per `host[:port]`: each trusts its own authorities.
    agents: Mutex<BTreeMap<String, Agent>>,
}

/// What goes along with a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `Authorization`, for the first host only.
    pub authorization: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// The first byte wanted, if not 0.
    pub from: u64,
}

impl Transport {
    /// Gets a URL, through redirects. Any status but a redirect is the caller's to judge.
    pub fn get(&self, url: &str, headers: &Headers<'_>) -> Result<Response<Body>> {
        let first = parse_url(url)?;
        let mut here = first.clone();
        for _ in 0..=REDIRECTS {
            let may_know = same_origin(&first, &here);
            let headers = Headers { authorization: headers.authorization.filter(|_| may_know), ..*headers };
            let response =
                self.get_once(&here, &headers).with_context(|| format!("get {}", public(&here)))?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return Ok(response);
            }
            let location =
                response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let next = resolve(&here, location)?;
            if is_tls(&here) && !is_tls(&next) {
                let message = format!("{} redirects from TLS to {}", public(&here), public(&next));
                return Err(Error::new(Kind::Integrity, message));
            }
            here = next;
        }
        Err(Error::new(Kind::Unavailable, format!("get {url}: more than {REDIRECTS} redirects")))
    }

    fn get_once(&self, uri: &Uri, headers: &Headers<'_>) -> Result<Response<Body>> {
        let mut request = self.agent(uri)?.get(uri);
        if let Some(authorization) = headers.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(accept) = headers.accept {
            request = request.header("accept", accept);
        }
        if headers.from > 0 {
            request = request.header("range", format!("bytes={}-", headers.from));
        }
        request.call().map_err(from_client)
    }

    fn agent(&self, uri: &Uri) -> Result<Agent> {
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&host) {
            return Ok(agent.clone());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        if is_tls(uri) {
            config = config.tls_config(TlsConfig::builder().root_certs(authorities(&host)?).build());
        }
        if is_loopback(uri) {
            config = config.proxy(None);
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Names::default());
        agents.insert(host, agent.clone());
        Ok(agent)
    }
}

/// `http` or `https` for a registry: plain for this machine, unless a certificate authority has been
/// set up for it.
pub fn scheme(registry: &str) -> &'static str {
    let is_plain = format!("http://{registry}/").parse::<Uri>().is_ok_and(|uri| is_loopback(&uri));
    if is_plain && own_authorities(registry).iter().all(|path| !path.exists()) { "http" } else { "https" }
}

/// A client error in our words.
pub fn from_client(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Io(error) => {
            // Whatever the system says of a connection, another try may end better.
            let error = Error::from(error);
            let kind = if error.kind() == Kind::Integrity { Kind::Integrity } else { Kind::Unavailable };
            error.with_kind(kind)
        }
        ureq::Error::HostNotFound => Error::new(Kind::Unavailable, "host not found"),
        ureq::Error::Timeout(what) => Error::new(Kind::Unavailable, format!("no answer in time ({what})")),
        error => Error::new(Kind::Unavailable, error.to_string()),
    }
}

/// Parses a URL and refuses plain HTTP to other machines.
fn parse_url(url: &str) -> Result<Uri> {
    let uri: Uri = url.parse().map_err(|_| Error::new(Kind::InvalidInput, format!("invalid URL {url:?}")))?;
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok(uri),
        Some("http") if is_loopback(&uri) => Ok(uri),
        Some("http") => {
            Err(Error::new(Kind::InvalidInput, format!("plain HTTP to {}, another machine", public(&uri))))
        }
        _ => Err(Error::new(Kind::InvalidInput, format!("invalid URL {url:?}"))),
    }
}

/// Where a redirect leads.
fn resolve(here: &Uri, location: &str) -> Result<Uri> {
    let scheme = here.scheme_str().unwrap_or("https");
    let authority = here.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if location.starts_with("//") {
        return parse_url(&format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return parse_url(&format!("{scheme}://{authority}{location}"));
    }
    parse_url(location).with_context(|| format!("follow the redirect from {}", public(here)))
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && port(a) == port(b)
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_tls(uri) { 443 } else { 80 })
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A URL for messages: queries of redirects hold signatures.
fn public(uri: &Uri) -> String {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}://{host}{}", uri.scheme_str().unwrap_or_default(), uri.path())
}

fn own_authorities(host: &str) -> Vec<PathBuf> {
    CERTIFICATES.iter().map(|dir| PathBuf::from(dir).join(host).join("ca.crt")).collect()
}

/// Whom to trust for a host: the system's authorities and the host's own.
fn authorities(host: &str) -> Result<RootCerts> {
    let bundle =
        std::env::var_os("SSL_CERT_FILE").map_or_else(|| PathBuf::from(SYSTEM_BUNDLE), PathBuf::from);
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for path in own_authorities(host).into_iter().chain([bundle]) {
        let Some(bytes) = durable::read(&path)? else { continue };
        for item in parse_pem(&bytes) {
            let phrase = || format!("read certificates from {}", path.display());
            if let PemItem::Certificate(certificate) = item.map_err(from_client).with_context(phrase)? {
                certificates.push(certificate);
            }
        }
    }
    Ok(if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&certificates) })
}

/// Looks names up; `localhost` is this machine whatever anybody's name service says.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        if uri.host() != Some("localhost") {
            return self.0.resolve(uri, config, timeout);
        }
        let mut addresses = self.empty();
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            addresses.push(SocketAddr::new(address, port(uri)));
        }
        Ok(addresses)
    }
}

/// Whether a status means that another try may end better.
pub fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in [
            "http://localhost:5000/v2/",
            "http://127.0.0.1/",
            "http://127.9.9.9:1/",
            "http://[::1]:5000/",
            "https://x/",
        ] {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        let wrong = [
            "http://x/",
            "http://localhost.x/",
            "http://127.0.0.1.x/",
            "http://[::2]/",
            "http://10.0.0.1/",
            "ftp://x/",
            "/x",
            "",
        ];
        for url in wrong {
            assert!(parse_url(url).is_err(), "{url}");
        }
        assert_eq!(
            [scheme("localhost:5000"), scheme("[::1]:5000"), scheme("reg.example")],
            ["http", "http", "https"]
        );
    }

    #[test]
    fn redirects_resolve_and_never_lose_tls() {
        let here = parse_url("https://reg.example:5000/v2/x/blobs/y").unwrap();
        let table = [
            ("/z", "https://reg.example:5000/z"),
            ("//cdn.example/z?sig=1", "https://cdn.example/z?sig=1"),
            ("https://cdn.example/z", "https://cdn.example/z"),
        ];
        for (location, expected) in table {
            assert_eq!(resolve(&here, location).unwrap().to_string(), expected);
        }
        assert!(resolve(&here, "http://cdn.example/z").is_err() && resolve(&here, "").is_err());
        let origin = |url| same_origin(&here, &parse_url(url).unwrap());
        assert!(origin("https://reg.example:5000/other"));
        assert!(!origin("https://reg.example/other") && !origin("https://cdn.example:5000/"));
    }
}
