//! A pool of connections: opened before those that need it, closed after them.

use std::io;

use downhaul::http::{Error, Request, Router};
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Context, HttpServer, Provided, Resource};

/// Stands for the pool of a database.
#[derive(Clone)]
struct Pool(&'static str);

impl Pool {
    async fn connect(host: &'static str) -> io::Result<Self> {
        Ok(Self(host))
    }

    async fn find(&self, id: u64) -> io::Result<String> {
        Ok(format!("order {id} of {}", self.0))
    }

    async fn close(self) {}
}

// ANCHOR: handler
async fn order(ctx: Context, req: Request<Provided<Pool>>) -> Result<String, Error> {
    let pool = req.state().get().map_err(Error::internal)?;
    ctx.run(pool.find(req.param("id")?)).await?.map_err(Error::internal)
}
// ANCHOR_END: handler

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut app = App::new("shop");
    // ANCHOR: pool
    let pool = Resource::new(|_ctx| Pool::connect("db.internal")).close(Pool::close);
    let connections: Provided<Pool> = pool.provided();
    let pool = app.add("pool", pool, []);

    let routes = Router::with_state(connections).get("/orders/{id}", order);
    let web = HttpServer::new("127.0.0.1:0", routes);
    let address = web.address();
    app.add("http", web, [pool]);
    // ANCHOR_END: pool

    let app = TestApp::start(app).await;
    let url = format!("http://{}/orders/7", address.get()?);
    assert_eq!(reqwest::get(url).await?.text().await?, "order 7 of db.internal");
    app.stop().await.assert_clean();
    app.assert_order(["pool started", "http started", "http stopped", "pool stopped"]);
    Ok(())
}
