// Pricing, version 2: the contract of pricing.py in TypeScript on Deno, with nothing but what Deno brings along.
// deno run --allow-net=127.0.0.1 --allow-env pricing_v2.ts        (listens on 127.0.0.1:$PORT)
// With --unstable-net it shares a port that somebody else keeps reserved; without, Deno refuses to be asked for that.

const cents = (name: string, otherwise: number) => Number(Deno.env.get(name) ?? otherwise);
const TARIFF = Deno.env.get("TARIFF") ?? "standard";
const UNLOCK_CENTS = cents("UNLOCK_CENTS", 100);
const MINUTE_CENTS = cents("MINUTE_CENTS", 20);
const HOLD_CENTS = cents("HOLD_CENTS", 2000); // no ride costs more than what was held for it
const VERSION = "v2";
const BODY_BYTES = 64 * 1024; // the most that a request may carry
const ALLOW = "GET, HEAD, OPTIONS";

function problem(status: number, title: string, detail: string, extra = {}, headers = {}): Response {
  const type = title in PLAIN ? "about:blank" : `https://bikeshare.example/problems/${title.replaceAll(" ", "-")}`;
  return Response.json({ type, title, status, detail, ...extra }, {
    status,
    headers: { ...headers, "content-type": "application/problem+json" },
  });
}
const PLAIN = { "Not Found": 404, "Method Not Allowed": 405, "Not Acceptable": 406, "Unsupported Media Type": 415 };

function badMinutes(message: string): Response {
  return problem(422, "bad input", `minutes: ${message}`, { errors: [{ field: "minutes", message }] });
}

function quote(url: URL): Response {
  const text = url.searchParams.getAll("minutes").at(-1);
  if (text === undefined) return badMinutes("Field required");
  const minutes = Number(text);
  if (!/^[0-9]{1,4}$/.test(text) || minutes > 1440) return badMinutes("is not a whole number from 0 to 1440");
  const price = Math.min(UNLOCK_CENTS + MINUTE_CENTS * minutes, HOLD_CENTS);
  return Response.json({ minutes, cents: price, tariff: TARIFF, version: VERSION });
}

function tariff(): Response {
  return Response.json({
    tariff: TARIFF,
    unlock_cents: UNLOCK_CENTS,
    minute_cents: MINUTE_CENTS,
    cap_cents: HOLD_CENTS,
  });
}

const ROUTES: Record<string, (url: URL) => Response> = {
  "/quote": quote,
  "/tariff": tariff,
  "/health/live": () => Response.json({ status: "live" }),
  "/health/ready": () => Response.json({ status: "ready" }),
};

// RFC 9110 section 12.5.1: the most specific range decides, and q=0 is a no.
function acceptsJson(accept: string): boolean {
  if (!accept.replace(/[,\s]/g, "")) return true;
  const taken = new Map(
    accept.toLowerCase().split(",").map((each) => {
      const [kind, ...parameters] = each.split(";").map((part) => part.trim());
      return [kind, !parameters.some((part) => /^q=0(\.0*)?$/.test(part))];
    }),
  );
  const others = taken.get("application/*") ?? taken.get("*/*") ?? false;
  return ["application/json", "application/problem+json"].some((kind) => taken.get(kind) ?? others);
}

function misfit(status: number, title: string, field: string, fault: string, headers = {}): Response {
  return problem(status, title, `${field}: ${fault}`, { errors: [{ field }] }, headers);
}

// A request with a body is judged by its header alone: nothing here reads one.
function faultIn({ headers }: Request): Response | undefined {
  const size = Number(headers.get("content-length") ?? 0);
  if (size > BODY_BYTES) return misfit(413, "body too large", "body", `at most ${BODY_BYTES} bytes`);
  if (size && !/^application\/(.+\+)?json *(;|$)/i.test(headers.get("content-type") ?? "")) {
    const take = { accept: "application/json" };
    return misfit(415, "Unsupported Media Type", "Content-Type", "a body is application/json", take);
  }
  if (!acceptsJson(headers.get("accept") ?? "*/*")) {
    return misfit(406, "Not Acceptable", "Accept", "answers are application/json, or application/problem+json");
  }
}

// A strong ETag is the hash of the content, and If-None-Match compares weakly (RFC 9110 sections 8.8.3 and 13.1.2).
async function tagged(asked: string, found: Response): Promise<Response> {
  const content = await found.clone().arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const etag = `"${hash.toHex().slice(0, 32)}"`;
  found.headers.set("etag", etag);
  found.headers.set("cache-control", "no-cache");
  const known: string[] = asked.match(/"[^"]*"/g) ?? [];
  if (asked.trim() !== "*" && !known.includes(etag)) return found;
  ["content-type", "content-length"].forEach((name) => found.headers.delete(name));
  return new Response(null, { status: 304, headers: found.headers });
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const { method, headers } = request;
  if (!Object.hasOwn(ROUTES, url.pathname)) {
    return problem(404, "Not Found", `${method}: Not Found`, {}, { vary: "Accept" });
  }
  if (method === "OPTIONS") return new Response(null, { status: 204, headers: { allow: ALLOW } });
  if (method !== "GET" && method !== "HEAD") {
    return problem(405, "Method Not Allowed", `${method}: Method Not Allowed`, {}, { allow: ALLOW });
  }
  let found = faultIn(request) ?? ROUTES[url.pathname](url);
  if (found.status === 200 && !url.pathname.startsWith("/health/")) {
    found = await tagged(headers.get("if-none-match") ?? "", found);
  }
  found.headers.set("vary", "Accept");
  return found; // Deno sends the header alone when the method is HEAD
}

// Beside a sidecar Deno.serve listens on the socket file in DENO_SERVE_ADDRESS, whatever it is asked for here.
function said(place: Deno.NetAddr | Deno.UnixAddr): string {
  return "path" in place ? place.path : `http://${place.hostname}:${place.port}`;
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.env.get("PORT") ?? 8000),
  reusePort: "listenDatagram" in Deno, // there only with --unstable-net
  onListen: (place) => console.log(`pricing ${VERSION} listens on ${said(place)}`),
}, answer);

Deno.addSignalListener("SIGTERM", () => server.shutdown()); // answers what has begun, then ends
