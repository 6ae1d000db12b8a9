// Does with Shlink's own SDK what its users do. What it finds wrong ends it with an error.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ShlinkApiClient } from '@shlinkio/shlink-js-sdk';
import { ErrorType } from '@shlinkio/shlink-js-sdk/api-contract';
import { FetchHttpClient } from '@shlinkio/shlink-js-sdk/fetch';
import { NodeHttpClient } from '@shlinkio/shlink-js-sdk/node';

const urls = JSON.parse(process.env.KGS_URLS); // the leader's is the last
const apiKey = process.env.KGS_TOKEN;
const [first, second] = urls.map((baseUrl, i) =>
  new ShlinkApiClient(i ? new FetchHttpClient() : new NodeHttpClient(), { baseUrl, apiKey }));
const visit = (shortCode, i = 0) => fetch(`${urls[i]}/${shortCode}`, {
  redirect: 'manual', headers: { 'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' },
});
const refused = (promise, type, status, more = {}) => assert.rejects(promise, (p) => {
  assert.equal(p.type, type, JSON.stringify(p));
  assert.equal(p.status, status);
  assert.ok(p.title && p.detail);
  for (const [name, value] of Object.entries(more)) assert.deepEqual(p[name], value);
  return true;
});
const notHere = (promise) => refused(promise, 'urn:kgs:problem:not_supported', 501);

async function links() {
  const made = await first.createShortUrl({
    longUrl: 'https://example.org/a?b=1#c', customSlug: 'my-slug', title: 'A title', tags: ['news', 'two words'],
    validSince: '2020-01-01T00:00:00+02:00', validUntil: '2100-01-01T00:00:00Z', maxVisits: 2,
    crawlable: true, findIfExists: true,
  });
  assert.deepEqual(made, {
    shortCode: 'my-slug', shortUrl: `${urls[0]}/my-slug`, longUrl: 'https://example.org/a?b=1#c', dateCreated: made.dateCreated,
    visitsSummary: { total: 0, nonBots: 0, bots: 0 }, tags: ['news', 'two words'],
    meta: { validSince: '2019-12-31T22:00:00.000Z', validUntil: '2100-01-01T00:00:00.000Z', maxVisits: 2 },
    domain: null, title: 'A title', crawlable: true, forwardQuery: true, hasRedirectRules: false,
  });
  assert.ok(Math.abs(Date.now() - new Date(made.dateCreated)) < 60_000);
  assert.deepEqual(await second.getShortUrl({ shortCode: 'my-slug' }), { ...made, shortUrl: `${urls[1]}/my-slug` });

  const plain = { longUrl: 'https://example.org/found' };
  const { shortCode } = await first.createShortUrl(plain);
  assert.equal((await fetch(`${urls[0]}/${shortCode}?utm=1`, { method: 'HEAD', redirect: 'manual' })).headers.get('Location'), 'https://example.org/found?utm=1');
  assert.equal((await second.createShortUrl({ ...plain, findIfExists: true })).shortCode, shortCode);
  assert.notEqual((await second.createShortUrl(plain)).shortCode, shortCode);

  for (const status of [302, 302, 410]) assert.equal((await visit('my-slug', status % 2)).status, status);
  const edited = await second.updateShortUrl({ shortCode: 'my-slug' }, {
    longUrl: 'https://example.org/new', title: null, validSince: null, validUntil: null, maxVisits: null, tags: ['old'], forwardQuery: false,
  });
  assert.deepEqual([edited.longUrl, edited.title, edited.tags, edited.forwardQuery, edited.meta],
    ['https://example.org/new', null, ['old'], false, { validSince: null, validUntil: null, maxVisits: null }]);
  assert.equal((await visit('my-slug?utm=1', 1)).headers.get('Location'), 'https://example.org/new');
  assert.deepEqual(await first.getShortUrlRedirectRules({ shortCode: 'my-slug' }),
    { defaultLongUrl: 'https://example.org/new', redirectRules: [] });

  for (let summary = { total: 0 }; summary.total < 3; await sleep(100)) { // within the test's deadline
    summary = (await first.getShortUrl({ shortCode: 'my-slug' })).visitsSummary;
    assert.equal(summary.bots, 0);
  }
  const { nonOrphanVisits, orphanVisits } = await first.getVisitsOverview();
  assert.deepEqual(nonOrphanVisits, { total: 3, nonBots: 3, bots: 0 });
  assert.equal(orphanVisits.bots, 0);

  assert.equal(await second.deleteShortUrl({ shortCode }), undefined);
  await refused(first.getShortUrl({ shortCode }), ErrorType.INVALID_SHORTCODE, 404);
}

async function lists() {
  for (let i = 0; i < 12; i++) {
    await first.createShortUrl({ longUrl: `https://example.org/list/${11 - i}`, customSlug: `list-${String(i).padStart(2, '0')}`, tags: ['list', i % 2 ? 'odd' : 'even'] });
  }
  const codes = async (params) => (await second.listShortUrls(params)).data.map((u) => u.shortCode.replace('list-', ''));
  const page = await second.listShortUrls({ tags: ['list'], itemsPerPage: 5, page: '3' });
  assert.deepEqual(page.pagination, { currentPage: 3, pagesCount: 3, itemsPerPage: 5, itemsInCurrentPage: 2, totalItems: 12 });
  assert.deepEqual(page.data.map((u) => u.shortCode), ['list-10', 'list-11']);
  const all = await first.listShortUrls();
  assert.equal(all.pagination.totalItems, 14);
  assert.equal(all.pagination.pagesCount, 2);
  assert.deepEqual(await codes({ tags: ['odd', 'list'], tagsMode: 'all', itemsPerPage: 3 }), ['01', '03', '05']);
  assert.deepEqual(await codes({ tags: ['odd', 'even'], itemsPerPage: 3 }), ['00', '01', '02']);
  assert.deepEqual(await codes({ tags: ['list'], excludeTags: ['even'], itemsPerPage: 2 }), ['01', '03']);
  assert.deepEqual(await codes({ searchTerm: '/list/3' }), ['08']);
  assert.deepEqual(await codes({ tags: ['list'], orderBy: { field: 'dateCreated', dir: 'DESC' }, itemsPerPage: 2 }), ['11', '10']);
  assert.deepEqual(await codes({ tags: ['list'], orderBy: { field: 'longUrl', dir: 'ASC' }, itemsPerPage: 2 }), ['11', '10']);
  assert.deepEqual(await codes({ orderBy: { field: 'visits', dir: 'DESC' }, itemsPerPage: 1 }), ['my-slug']);
  assert.deepEqual(await codes({ startDate: '2100-01-01T00:00:00Z' }), []);
  assert.deepEqual(await codes({ domain: 'DEFAULT', excludeMaxVisitsReached: true, excludePastValidUntil: true, tags: ['old'] }), ['my-slug']);

  assert.deepEqual((await first.listTags()).data, ['even', 'list', 'odd', 'old']);
  const stats = await second.tagsStats();
  assert.deepEqual(stats.data.map((t) => [t.tag, t.shortUrlsCount, t.visitsSummary.total]), [['even', 6, 0], ['list', 12, 0], ['odd', 6, 0], ['old', 1, 3]]);
  const { data: [domain], defaultRedirects } = await first.listDomains();
  assert.deepEqual(domain, { domain: new URL(urls[0]).host, isDefault: true, redirects: defaultRedirects });
  assert.deepEqual(await first.health(), { status: 'pass', version: '4.6.0' });
  assert.equal((await (await fetch(`${urls[0]}/rest/health`)).json()).status, 'pass');
}

async function refusals() {
  const longUrl = 'https://example.org/';
  await refused(first.createShortUrl({ longUrl, customSlug: 'my-slug' }), ErrorType.INVALID_SLUG, 400);
  for (const [member, data] of Object.entries({
    longUrl: { longUrl: 'nothing' }, customSlug: { longUrl, customSlug: 'a b' }, validUntil: { longUrl, validUntil: 'soon' },
    maxVisits: { longUrl, maxVisits: -1 }, domain: { longUrl, domain: 'other.example' },
    shortCodeLength: { longUrl, shortCodeLength: 5 },
  })) await refused(second.createShortUrl(data), ErrorType.INVALID_ARGUMENT, 400, { invalidElements: [member] });
  const id = { shortCode: 'my-slug' };
  await refused(first.updateShortUrl(id, { crawlable: false }), ErrorType.INVALID_ARGUMENT, 400, { invalidElements: ['crawlable'] });
  await refused(first.updateShortUrl({ shortCode: 'nope' }, { title: 'x' }), ErrorType.INVALID_SHORTCODE, 404);
  await refused(second.deleteShortUrl({ shortCode: 'nope' }), ErrorType.INVALID_SHORTCODE, 404);
  await refused(second.deleteShortUrl({ ...id, domain: 'other.example' }), ErrorType.INVALID_ARGUMENT, 400, { invalidElements: ['domain'] });
  await refused(first.listShortUrls({ apiKeyName: 'me' }), ErrorType.INVALID_ARGUMENT, 400, { invalidElements: ['apiKeyName'] });
  await refused(first.mercureInfo(), ErrorType.MERCURE_NOT_CONFIGURED, 501);
  const of = (apiKey) => new ShlinkApiClient(new NodeHttpClient(), { baseUrl: urls[0], apiKey });
  await refused(of('nobody').listTags(), ErrorType.INVALID_API_KEY, 401);
  await refused(of('').listTags(), ErrorType.INVALID_AUTHORIZATION, 401);
  await refused(of(process.env.KGS_READER).createShortUrl({ longUrl }), 'urn:kgs:problem:forbidden', 403);
  assert.equal((await of(process.env.KGS_READER).getShortUrl(id)).shortCode, 'my-slug');
  for (const call of [
    () => first.getShortUrlVisits(id), () => first.getTagVisits('odd'), () => first.getDomainVisits('DEFAULT'), () => first.getOrphanVisits(),
    () => second.getNonOrphanVisits(), () => second.deleteShortUrlVisits(id), () => second.deleteOrphanVisits(), () => second.deleteTags(['odd']),
    () => second.editTag({ oldName: 'odd', newName: 'x' }), () => first.setShortUrlRedirectRules(id, { redirectRules: [] }),
    () => first.editDomainRedirects({ domain: 'DEFAULT', regular404Redirect: null }),
  ]) await notHere(call());
}

// Goes on while the leader dies: who asks another node sees no error.
async function failover() {
  const input = createInterface({ input: process.stdin });
  const killed = new Promise((resolve) => input.once('line', () => { input.close(); resolve(true); }));
  let dead = false, after = 0;
  killed.then(() => { dead = true; });
  const made = [];
  for (let i = 0; after < 20; i++) {
    if (i === 20) console.log('kill the leader');
    if (dead) after++;
    const client = i % 2 ? first : second;
    const { shortCode } = await client.createShortUrl({ longUrl: `https://example.org/failover/${i}`, tags: ['failover'] });
    await client.updateShortUrl({ shortCode }, { title: `number ${i}` });
    made.push(shortCode);
  }
  for (const [i, shortCode] of made.entries()) {
    const link = await (i % 2 ? second : first).getShortUrl({ shortCode });
    assert.deepEqual([link.longUrl, link.title], [`https://example.org/failover/${i}`, `number ${i}`]);
    assert.equal((await visit(shortCode, i % 2)).headers.get('Location'), link.longUrl);
  }
  const { data } = await first.listShortUrls({ tags: ['failover'], itemsPerPage: -1 });
  assert.deepEqual(data.map((u) => u.shortCode), [...made].sort());
  console.log(`${made.length} short URLs, ${after} of them after the leader's death`);
}

for (const part of [links, lists, refusals, failover]) {
  await part();
  console.log(`${part.name}: ok`);
}
