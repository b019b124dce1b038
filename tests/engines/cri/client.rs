//! A gRPC client for single calls: a message of five bytes' head and a body each way, in one HTTP/2 stream, and
//! the status in the trailers (gRPC over HTTP2, PROTOCOL-HTTP2.md).

use std::path::Path;

use h2::client::SendRequest;
use prost::Message;
use prost::bytes::{BufMut, Bytes, BytesMut};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// A connection.
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

impl Client {
    /// Connects to a server's socket.
    pub fn connect(socket: &Path) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = UnixStream::connect(socket).await.unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(async move { connection.await.unwrap() });
            sender
        });
        Client { runtime, sender }
    }

    /// Calls a method of `runtime.v1.RuntimeService`; `Err` has the status' message.
    pub fn call<A: Message + Default>(&self, method: &str, question: &impl Message) -> Result<A, String> {
        let mut body = BytesMut::new();
        body.put_u8(0); // not compressed
        body.put_u32(question.encoded_len().try_into().unwrap());
        question.encode(&mut body).unwrap();
        let answer = self.runtime.block_on(exchange(self.sender.clone(), method, body.freeze()))?;
        Ok(A::decode(&answer[5..]).unwrap())
    }
}

async fn exchange(sender: SendRequest<Bytes>, method: &str, body: Bytes) -> Result<Bytes, String> {
    let request = http::Request::post(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    stream.send_data(body, true).unwrap();
    let response = response.await.unwrap();
    let early = response.headers().clone();
    let mut incoming = response.into_body();
    let mut answer = BytesMut::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece.unwrap();
        incoming.flow_control().release_capacity(piece.len()).unwrap();
        answer.extend_from_slice(&piece);
    }
    // A call that fails at once has the status in the head, and no trailers.
    let headers = incoming.trailers().await.unwrap().unwrap_or(early);
    match headers["grpc-status"].to_str().unwrap() {
        "0" => Ok(answer.freeze()),
        status => Err(format!("{status}: {}", headers["grpc-message"].to_str().unwrap())),
    }
}
