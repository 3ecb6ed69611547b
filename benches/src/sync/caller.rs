//! One connection to a gateway that carries one call at a time.

use std::net::SocketAddr;

use anyhow::Context;
use keyward_loadtest::answer::AnswerHead;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Caller {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(gateway: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(4 * 1024),
        })
    }

    /// Sends a whole request and reads the whole answer: its status.
    ///
    /// # Errors
    /// When the connection ends or the answer can't be read.
    pub async fn call(&mut self, request: &str) -> anyhow::Result<u16> {
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        loop {
            anyhow::ensure!(
                self.stream.read_buf(&mut self.answer).await? > 0,
                "the gateway closed the connection"
            );
            let head = AnswerHead::read(&self.answer)
                .ok()
                .context("no answer that can be read")?;
            if let Some(head) = head.filter(|head| self.answer.len() >= head.length) {
                return Ok(head.status);
            }
        }
    }
}
