// A certified OpenID provider on loopback: `node oidc_provider.mjs PORT`. It signs JWT access tokens (RFC 9068)
// for the audience AUDIENCE with the key in KEYS, by client credentials of `batch` with SECRET.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.CLIENT_ROOT}/package.json`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const port = Number(process.argv[2]);
const audience = process.env.AUDIENCE;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "batch",
      client_secret: process.env.SECRET,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  scopes: ["llm", "llm:special"],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "llm llm:special",
        audience,
        accessTokenTTL: 300,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  extraTokenClaims: () => ({ department: { team: "care" } }),
  jwks: { keys: JSON.parse(process.env.KEYS) },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
