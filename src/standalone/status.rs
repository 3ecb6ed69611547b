//! The live status line: what the gateway's metrics say, once a second.
//!
//! It reads the same page as any Prometheus does, so that it can say nothing that they can't. When the page
//! can't be read the line says so, and nothing else happens.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::output;
use crate::standalone::ports::reachable;

const EVERY: Duration = Duration::from_secs(1);
/// Many times what the page has.
const LONGEST_PAGE: u64 = 8 << 20;

/// Shows the line until it is dropped.
pub(crate) async fn show(admin: SocketAddr) {
    let admin = reachable(admin);
    let mut ticks = tokio::time::interval(EVERY);
    let mut before: Option<(Instant, Figures)> = None;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let page = tokio::time::timeout(EVERY, read(admin)).await;
        let line = match page {
            Ok(Ok(page)) => {
                let figures = Figures::of(&page);
                let line = figures.line(before.map(|(then, figures)| (now - then, figures)));
                before = Some((now, figures));
                line
            }
            _ => "no answer from the gateway's metrics".to_owned(),
        };
        output::show(&format!("\r\x1b[K{line}"));
    }
}

async fn read(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.take(LONGEST_PAGE).read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// What the line is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    answered: f64,
    accepted: f64,
    in_flight: f64,
    revision: f64,
}

impl Figures {
    fn of(page: &str) -> Self {
        let mut figures = Self::default();
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "keyward_requests_total" => figures.answered += value,
                "keyward_decisions_total" if labels.contains("decision=\"accepted\"") => {
                    figures.accepted += value;
                }
                "keyward_requests_in_flight" => figures.in_flight += value,
                "keyward_sync_revision" => figures.revision = value,
                _ => {}
            }
        }
        figures
    }

    fn line(self, before: Option<(Duration, Self)>) -> String {
        let rate = before.map_or(0.0, |(since, before)| {
            (self.answered - before.answered).max(0.0) / since.as_secs_f64().max(f64::EPSILON)
        });
        let refused = (self.answered - self.accepted).max(0.0);
        format!(
            "{rate:.0} calls/s · {} answered · {refused} refused · {} in flight · revision {}",
            self.answered, self.in_flight, self.revision
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n\
        # HELP keyward_requests_total Answered calls.\n\
        keyward_requests_total{route=\"/\",tier=\"growth\",code=\"200\"} 90\n\
        keyward_requests_total{route=\"/\",tier=\"growth\",code=\"429\"} 10\n\
        keyward_decisions_total{decision=\"accepted\"} 90\n\
        keyward_decisions_total{decision=\"RATE_LIMITED\"} 10\n\
        keyward_requests_in_flight 3\n\
        keyward_sync_revision 17\n";

    #[test]
    fn the_line_sums_up_the_page() {
        let figures = Figures::of(PAGE);
        let before = Figures {
            answered: 50.0,
            ..Figures::default()
        };
        assert_eq!(
            figures.line(Some((Duration::from_secs(2), before))),
            "25 calls/s · 100 answered · 10 refused · 3 in flight · revision 17"
        );
    }

    #[test]
    fn a_page_that_is_none_is_all_zero() {
        assert_eq!(
            Figures::of("keyward_requests_total\n{} x\n\u{0} 1"),
            Figures::default()
        );
    }

    #[tokio::test]
    async fn the_page_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            stream.write_all(PAGE.as_bytes()).await.unwrap();
        });
        assert_eq!(read(address).await.unwrap(), PAGE);
        server.await.unwrap();
    }
}
