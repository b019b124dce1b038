//! A registry, as far as pulling goes: manifests by tag or digest, and blobs that are checked while
//! they stream. A transfer that breaks goes on where it broke; one that lies ends.
//! Source: distribution-spec, "Pull"; token authentication in `auth`.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::auth::{self, Challenge, Credentials};
use super::digest::Digest;
use super::manifest::{DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_LIMIT, Descriptor, OCI_INDEX, OCI_MANIFEST};
use super::reference::Reference;
use super::staging::BlobWriter;
use super::transport::{Headers, Transport, is_passing, scheme};
use crate::error::{Context, Error, Kind, Result};

/// How often in a row a transfer may fail without a byte of progress.
const FAILURES: u32 = 4;
/// How often in all.
const TRIES: u32 = 64;
const ANSWER_LIMIT: u64 = 1 << 20;

/// Hears how many bytes there are; its error ends the transfer.
pub type Progressed<'a> = &'a dyn Fn(u64) -> Result<()>;

/// One repository in a registry.
#[derive(Debug)]
pub struct Registry {
    transport: Transport,
    /// `scheme://host/v2/repository`
    base: String,
    credentials: Option<Credentials>,
    /// The `Authorization` that worked last.
    authorization: Mutex<Option<String>>,
}

/// A manifest or index as the registry sent it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The document.
    pub bytes: Vec<u8>,
    /// What the registry says it is.
    pub media_type: Option<String>,
    /// Its digest.
    pub digest: Digest,
}

impl Registry {
    /// The repository of a reference; nothing is sent yet.
    pub fn new(reference: &Reference) -> Result<Self> {
        let host = match reference.registry() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        Ok(Self {
            transport: Transport::default(),
            base: format!("{}://{host}/v2/{}", scheme(host), reference.repository()),
            credentials: auth::find_credentials(reference)?,
            authorization: Mutex::new(None),
        })
    }

    /// The document for a tag or a digest; for a digest, exactly that.
    pub fn manifest(&self, wanted: &str) -> Result<Answer> {
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let headers = Headers { accept: Some(&accept), ..Headers::default() };
        let mut failures = 0;
        loop {
            match self.manifest_once(wanted, &headers) {
                Err(error) if is_worth_a_try(&error, failures) => failures += 1,
                result => return result,
            }
            pause(failures);
        }
    }

    fn manifest_once(&self, wanted: &str, headers: &Headers<'_>) -> Result<Answer> {
        let response = self.get(&format!("{}/manifests/{wanted}", self.base), headers)?;
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (media_type, promised) = (header("content-type"), header("docker-content-digest"));
        let bytes = read_capped(response, DOCUMENT_LIMIT)?;
        let expected = match wanted.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => promised.and_then(|text| text.parse().ok()),
        };
        let mut hasher = expected.as_ref().map_or_else(|| Digest::of(b"").hasher(), Digest::hasher);
        hasher.update(&bytes);
        let digest = hasher.finish();
        match expected {
            Some(expected) if expected != digest => {
                Err(Error::new(Kind::Integrity, format!("digest mismatch: manifest {expected} has {digest}")))
            }
            _ => Ok(Answer { bytes, media_type, digest }),
        }
    }

    /// Fetches a blob into a writer, which checks it. `progress` hears how many bytes there are.
    pub fn blob(&self, blob: &Descriptor, writer: &mut BlobWriter, progress: Progressed<'_>) -> Result<()> {
        let mut failures = 0;
        for _ in 0..TRIES {
            let before = writer.size();
            match self.blob_part(blob, writer, progress) {
                Err(error) if is_worth_a_try(&error, failures) => {
                    failures = if writer.size() > before { 1 } else { failures + 1 };
                }
                result => return result,
            }
            pause(failures);
        }
        Err(Error::new(Kind::Unavailable, format!("the connection broke {TRIES} times")))
    }

    fn blob_part(&self, blob: &Descriptor, writer: &mut BlobWriter, progress: Progressed<'_>) -> Result<()> {
        let headers = Headers { from: writer.size(), ..Headers::default() };
        let response = self.get(&format!("{}/blobs/{}", self.base, blob.digest), &headers)?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // The whole blob, whatever part was asked for.
            writer.restart()?;
        } else if !header("content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {}-", writer.size())))
        {
            return Err(Error::new(Kind::Integrity, "the registry sent another part than was asked for"));
        }
        let promised: Option<u64> = header("content-length").and_then(|text| text.parse().ok());
        if promised.is_some_and(|promised| writer.size().saturating_add(promised) != blob.size) {
            let all = writer.size().saturating_add(promised.unwrap_or(0));
            return Err(Error::new(
                Kind::Integrity,
                format!("size mismatch: blob {} has {all} bytes, not {}", blob.digest, blob.size),
            ));
        }
        stream(response, writer, (blob, progress))
    }

    /// Gets a URL of this repository, with the authorization it asks for.
    fn get(&self, url: &str, headers: &Headers<'_>) -> Result<Response<Body>> {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = self.transport.get(url, &Headers { authorization: known.as_deref(), ..*headers })?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return check_status(response);
        }
        let Some(authorization) = self.authorize(&response).context("authenticate")? else {
            return check_status(response);
        };
        let response =
            self.transport.get(url, &Headers { authorization: Some(&authorization), ..*headers })?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        check_status(response)
    }

    /// What to answer to a challenge, if there is an answer.
    fn authorize(&self, response: &Response<Body>) -> Result<Option<String>> {
        let headers = response.headers().get_all("www-authenticate").iter();
        let challenges = headers.filter_map(|value| value.to_str().ok()).flat_map(auth::parse_challenges);
        for challenge in challenges {
            match challenge {
                Challenge::Basic => {
                    if let Some(credentials) = &self.credentials {
                        return Ok(Some(credentials.header()));
                    }
                }
                Challenge::Bearer { realm, service, scope } => {
                    let url = auth::token_url(&realm, service.as_deref(), scope.as_deref());
                    let header = self.credentials.as_ref().map(Credentials::header);
                    let headers = Headers { authorization: header.as_deref(), ..Headers::default() };
                    let answer = check_status(self.transport.get(&url, &headers)?)?;
                    let token = auth::parse_token(&read_capped(answer, ANSWER_LIMIT)?)?;
                    return Ok(Some(format!("Bearer {token}")));
                }
            }
        }
        Ok(None)
    }
}

/// Copies a body into the writer, and not a byte more than there may be.
fn stream(
    response: Response<Body>,
    writer: &mut BlobWriter,
    (blob, progress): (&Descriptor, Progressed<'_>),
) -> Result<()> {
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let (size, all) = (writer.size(), blob.size);
                let message = format!("the connection broke after {size} of {all} bytes: {error}");
                return Err(Error::new(Kind::Unavailable, message));
            }
        };
        if writer.size() + count as u64 > blob.size {
            let message = format!("blob {} has more than its {} bytes", blob.digest, blob.size);
            return Err(Error::new(Kind::Integrity, message));
        }
        writer.write_all(buffer.get(..count).unwrap_or_default()).context("write a blob")?;
        progress(writer.size())?;
    }
    if writer.size() < blob.size {
        let message = format!("the connection ended after {} of {} bytes", writer.size(), blob.size);
        return Err(Error::new(Kind::Unavailable, message));
    }
    Ok(())
}

fn is_worth_a_try(error: &Error, failures: u32) -> bool {
    // A connection that is refused at once will be refused again.
    error.kind() == Kind::Unavailable
        && failures < FAILURES
        && !error.to_string().ends_with("connection refused")
}

fn pause(failures: u32) {
    std::thread::sleep(Duration::from_millis(250) * 2u32.saturating_pow(failures.saturating_sub(1)));
}

fn read_capped(response: Response<Body>, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(limit + 1);
    body.read_to_end(&mut bytes)
        .map_err(|error| Error::new(Kind::Unavailable, error.to_string()))
        .context("read answer")?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(Kind::Integrity, format!("the answer is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// A refusal in the registry's words, as far as they fit into one line.
fn check_status(response: Response<Body>) -> Result<Response<Body>> {
    let status = response.status();
    if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT {
        return Ok(response);
    }
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Unauthorized,
        StatusCode::NOT_FOUND => Kind::NotFound,
        status if is_passing(status) => Kind::Unavailable,
        _ => Kind::Integrity,
    };
    let words = read_capped(response, ANSWER_LIMIT).ok().and_then(|bytes| {
        let answer: Value = serde_json::from_slice(&bytes).ok()?;
        let first = answer.get("errors")?.get(0)?;
        Some(first.get("message").or_else(|| first.get("code"))?.as_str()?.to_owned())
    });
    let words: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    let status = status.to_string().to_lowercase();
    Err(Error::new(kind, if words.is_empty() { status } else { format!("{words} ({status})") }))
}
