//! Erasures that somebody is in the way of.

use serde_json::json;

use crate::archives::{Library, over};

#[actix_web::test]
async fn a_reader_of_the_store_is_told_of_and_nothing_but_traces_is_left() {
    let library = Library::new(&[]).await;
    let (hers, others) = (over("ann", 9, "The lump is gone.", ""), over("ann", 5, "Another lump.", ""));
    library.keep(&hers).await;
    library.keep(&others).await;
    let (ann, path) = (library.token("ann"), format!("/v1/sessions/{}", others.session));
    let reader = rusqlite::Connection::open(library.path.join("users.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    for path in [path.as_str(), "/v1/me?confirm=erase"] {
        let told = library.ask("DELETE", path, Some(&ann)).await;
        assert_eq!(told.refusal(), (503, "traces_left".to_owned()), "{path}");
        assert_eq!(told.headers.get("retry-after").unwrap(), "60");
        assert_eq!(library.ask("GET", path.split('?').next().unwrap(), Some(&ann)).await.status / 100, 4, "it is gone");
    }
    assert_eq!(library.ask("GET", "/v1/sessions", Some(&ann)).await.body()["sessions"], json!([]));
    assert!(library.holds("lump"), "its traces are looked for in the right files");
    reader.execute_batch("ROLLBACK").unwrap();
    assert_eq!(library.ask("DELETE", "/v1/me?confirm=erase", Some(&ann)).await.status, 200);
    assert!(!library.holds("lump"));
}
