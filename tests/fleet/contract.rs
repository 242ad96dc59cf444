//! What every provider promises, whoever it asks.

use std::future::Future;

use tandem::fleet::provider::{PowerState, Provider, Started, Stopped, none::AlwaysOn};

use super::{
    clouds::{Kind, SECRET},
    command::{Desk, SLEEPER},
    stage::PATIENCE,
};

/// Looks until the machine does this; on the way it may only do that.
pub async fn settles(provider: &dyn Provider, wanted: PowerState, on_the_way: PowerState) {
    let looking = async {
        loop {
            let seen = provider.status().await.unwrap().state;
            if seen == wanted {
                return;
            }
            assert_eq!(seen, on_the_way, "{} on the way to {wanted:?}", provider.name());
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the machine settles");
}

async fn keeps_the_contract(provider: &dyn Provider) {
    assert_eq!(provider.status().await.unwrap().state, PowerState::Stopped);
    assert_eq!(provider.stop().await, Ok(Stopped::AlreadyStopped));
    for _ in 0..2 {
        assert_eq!(provider.start().await, Ok(Started::Accepted));
        assert_eq!(provider.start().await, Ok(Started::AlreadyRunning), "on its way");
        settles(provider, PowerState::Running, PowerState::Starting).await;
        assert_eq!(provider.start().await, Ok(Started::AlreadyRunning));
        assert_eq!(provider.restart().await, Ok(()));
        settles(provider, PowerState::Running, PowerState::Starting).await;
        assert_eq!(provider.stop().await, Ok(Stopped::Accepted));
        assert_eq!(provider.stop().await, Ok(Stopped::AlreadyStopped));
        settles(provider, PowerState::Stopped, PowerState::Stopping).await;
    }
    assert_eq!(provider.restart().await, Ok(()), "what is stopped is started");
    settles(provider, PowerState::Running, PowerState::Starting).await;
    assert_eq!(provider.stop().await, Ok(Stopped::Accepted));
    settles(provider, PowerState::Stopped, PowerState::Stopping).await;
    assert!(!format!("{provider:?}").contains(SECRET), "{provider:?}");
}

async fn each_cloud<F: Future<Output = ()>>(test: impl Fn(Kind, Box<dyn Provider>) -> F) {
    for &kind in Kind::ALL {
        let cloud = kind.cloud().await;
        test(kind, kind.at(&cloud.url, PATIENCE)).await;
        assert!(!cloud.asked().is_empty());
    }
}

#[actix_web::test]
async fn every_cloud_keeps_the_contract() {
    each_cloud(|_, provider| async move { keeps_the_contract(&*provider).await }).await;
}

#[actix_web::test]
async fn a_local_process_keeps_the_contract() {
    let desk = Desk::new();
    keeps_the_contract(&desk.process(SLEEPER, PATIENCE)).await;
}

#[actix_web::test]
async fn a_machine_that_is_always_on_is_not_stopped() {
    assert_eq!(AlwaysOn.start().await, Ok(Started::AlreadyRunning));
    assert_eq!(AlwaysOn.stop().await.unwrap_err().code(), "unsupported");
    assert_eq!(AlwaysOn.restart().await.unwrap_err().code(), "unsupported");
    assert_eq!(AlwaysOn.status().await.unwrap().state, PowerState::Running);
}

#[actix_web::test]
async fn a_start_that_is_under_way_can_be_stopped() {
    each_cloud(|kind, provider| async move {
        assert_eq!(provider.start().await, Ok(Started::Accepted));
        assert_eq!(provider.stop().await, Ok(Stopped::Accepted), "{kind:?}");
        settles(&*provider, PowerState::Stopped, PowerState::Stopping).await;
    })
    .await;
}

#[actix_web::test]
async fn each_provider_has_a_name_of_its_own() {
    let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.at("http://127.0.0.1:1", PATIENCE).name()).collect();
    names.extend([AlwaysOn.name(), Desk::new().process(SLEEPER, PATIENCE).name()]);
    let of_features = [(cfg!(feature = "kubernetes"), "kubernetes"), (cfg!(feature = "docker"), "docker")];
    let of_features = of_features.into_iter().filter_map(|(is_on, name)| is_on.then_some(name));
    let expected = ["runpod", "vast", "railway", "webhook"].into_iter().chain(of_features);
    assert_eq!(names, expected.chain(["none", "command"]).collect::<Vec<_>>());
}
