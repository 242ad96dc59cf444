// What railway.json says, for the time after 2026-12-01, when Railway stops reading that. Take that file away first:
// `railway config plan` refuses a service that has both. Name the project as yours is named.
import { defineRailway, preserve, project, service } from "railway/iac";

export default defineRailway(() => {
  const tandem = service("tandem", {
    healthcheck: "/readyz",
    healthcheckTimeout: 120,
    // One process knows of each model server: more only with a record that they share, in MongoDB.
    replicas: 1,
    env: {
      // A Dockerfile is built wherever there is one, and starts `tandem serve`.
      JWT_SECRET: preserve(),
      PERSONAPLEX_SERVER_URL: preserve(),
      TANDEM_MODE: "production",
      TANDEM__DRAIN__DEADLINE_SECONDS: "300",
      // There are no fields for these two: between SIGTERM and SIGKILL, and how long the old one stays beside the new one.
      RAILWAY_DEPLOYMENT_DRAINING_SECONDS: "330",
      RAILWAY_DEPLOYMENT_OVERLAP_SECONDS: "0",
    },
  });

  return project("tandem", { resources: [tandem] });
});
