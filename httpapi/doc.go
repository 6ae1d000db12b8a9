// Package httpapi is the HTTP front end of a node: it decodes and checks
// requests, asks the node (package cluster), and writes the answers. It holds
// no state but the visits of the last second, and knows neither raft nor the store.
//
// # The way of a request
//
//	server.go    Server, its http.Server, X-Kgs-Node, graceful shutdown
//	routes.go    the route table, and what wraps every handler: the deadline,
//	             the role that it needs (auth.go), rate limits (limits.go,
//	             clientaddr.go), recovery, metrics
//	keys.go links.go batch.go keyspaces.go members.go tokens.go snapshot.go
//	             redirect.go health.go  the handlers, by resource
//	linklimits.go visits.go  what a redirect asks of a limited link, and what it counts
//	stream.go    streams of events: watch.go GET /v1/cluster/watch, watchlinks.go GET /v1/watch
//	shlink.go shlink_list.go shlink_tags.go  the REST API of Shlink, on the same functions
//	ui.go ui/    the page for people
//	pages.go pages/ qr.go  what people get who follow a link: preview, problems, QR code
//	openapi.go openapi.yaml  the description of all this; the page at /docs shows it
//	service.go   what a handler may ask of the node
//	errors.go    the table from Go errors to problems; problem.go writes them
//
// and what the handlers share: body.go and decode.go (bounded bodies, strict
// JSON; decode_plain.go is its short cut), ndjson.go (lines), fields.go and url.go (the limits of a link),
// query.go (consistency, limit, cursor), idempotency.go, deadline.go,
// respond.go, metrics.go.
//
// # Decisions that the contract leaves open
//
//   - JSON: names are matched exactly (case counts), a name given twice, data
//     after the object, bytes that are not UTF-8 and lone surrogates are refused.
//     null means absent, except in PATCH, where it is refused: "" and [] clear.
//   - A body without Content-Type is taken as JSON.
//   - Whether a link has expired is asked of this node's clock, whether a visit is
//     one too many of the log. Before not_before a link is 404, as one that nobody
//     needs to know of; an expired or used up one is 410. HEAD counts no visit, and
//     no redirect of a link with a limit may be cached.
//   - find_if_exists finds a link of the same URL, redirect and limits, with at
//     least the same tags; with alias or key, only under that one.
//   - Content of a URL: any percent escapes, fragments and non-ASCII text are
//     kept byte for byte. Unicode space and control characters are refused like
//     ASCII ones. Hosts are compared as a browser would read them: case, IDNA,
//     percent escapes, trailing dot, IPv6 spelling; "localhost" and the
//     loopback addresses are one; ports 80 and 443 are one. Numeric hosts that
//     are not dotted quads (127.1, 0x7f000001) are refused.
//   - A redirect by 301 or 308 may be cached for an hour, so that an update or
//     deletion shows within the hour. All others are no-store.
//   - A path of the redirect that cannot be a key (other characters than
//     A-Za-z0-9_-, fewer than 3, more than 64) is 404 without asking the node.
//   - X-Kgs-Timeout over 30 s is refused, not lowered.
//   - An exhausted key space is 507: unlike the 503s, a retry cannot help.
//   - A deadline that passed during a read is 504 timeout. For a mutation the
//     node says which it was: nothing happened (503), or unknown (504); a plain
//     deadline error of the node counts as unknown.
//   - Idempotency fingerprints cover method, path and raw body. In a batch with
//     key K, line i (from 1) has the idempotency key K#i and a fingerprint of
//     its own bytes, so a corrected line repeats without harm to the others
//     under a new key, and the same batch may be sent again as it is.
//     Idempotent-Replay is set on a batch when every line that reached the node
//     was a replay. Join, remove and transfer are harmless to repeat: there the
//     key is checked and not used.
//   - A batch in which every line that reached the node failed with the same 503
//     code is answered as that 503: nothing was created, try another node.
//   - Blank lines of a batch are skipped at its end, and are bad lines elsewhere.
//   - POST /v1/tokens takes no Idempotency-Key: a repeat would have to show the
//     token again, and its text is kept nowhere. A token whose answer was lost is
//     in the list, and can be revoked.
//   - GET /v1/cluster/snapshot needs an admin, as the file has the key spaces'
//     secrets. What has no route is 404 or 405 to everybody.
//   - Without Config.BaseURL short URLs are made of the request's Host.
//   - Too many connections wait and are not closed (conns.go). Who sends his
//     headers slowly loses the connection after 10 s, who sends a body slowly
//     after a minute, and holds no memory for what he has not sent. A batch holds
//     one of few places: too slow a body is 408 body_too_slow.
//   - Outside /v1 a problem is a page to who asks for text/html by name, with the
//     same status. The preview is for all who accept HTML, 406 to others.
//   - In Shlink's API a member or parameter that kgs cannot honour is invalid-data, a
//     route 501 not_supported. Lists are in the order of the short codes unless
//     asked for another, which takes a walk over all that are found, of 100,000 at
//     most. Pages end with item 10,000. GET .../short-urls/shorten, which creates
//     and has the key in its URL, is not there, nor are versions 1 and 2.
//   - A preview and a QR code are refused as the redirect would be, spend misses
//     as it does (limits.go), and count no visit. A picture of the wanted size
//     in which a module would be less than a pixel is 400.
//   - Redirects have no Referrer-Policy: it would hold for the link's target.
//   - X-Request-Id, up to 128 printable ASCII characters, comes back and is in the
//     logs (level debug, and errors) of this node and of the leader. Without one a
//     request has the id of its trace, if there are traces, else none.
//   - readyz and livez answer in plain text, also when not ready.
package httpapi
