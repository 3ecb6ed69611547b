// Node: fetch, its HTTP/1.1 and HTTP/2 clients, and the `ws` package, against one gateway. Run by test_node.py.

import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { createRequire } from 'node:module'
import { after, test } from 'node:test'
import { brotliCompressSync } from 'node:zlib'

const { URL_OF_GATEWAY: base, KEY: key, LIMITED: limited } = process.env
const headers = { authorization: `Bearer ${key}` }
const MIB = 1024 * 1024
const PIECE = Buffer.from(Array.from({ length: 65536 }, (_, at) => at % 256))
const UPLOAD = Buffer.concat(Array(80).fill(PIECE))
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')
const get = (path, more = {}) => fetch(base + path, { ...more, headers: { ...headers, ...more.headers } })

// What a failed case left open keeps nobody waiting.
after(() => setTimeout(() => process.exit(), 500).unref())

// ---- fetch

test('fetch: calls and bodies of each kind arrive whole', async () => {
  assert.equal((await (await get('/echo?a=%20b')).json()).target, '/echo?a=%20b')
  const sent = await (await get('/echo', { method: 'POST', body: UPLOAD })).json()
  assert.equal(sent.sha256, digest(UPLOAD))
  const pieces = new ReadableStream({
    start(into) {
      for (let at = 0; at < UPLOAD.length; at += 70001) into.enqueue(UPLOAD.subarray(at, at + 70001))
      into.close()
    },
  })
  const streamed = await (await get('/echo', { method: 'POST', body: pieces, duplex: 'half' })).json()
  assert.equal(streamed.sha256, digest(UPLOAD))
  const form = new FormData()
  form.append('file', new Blob([UPLOAD]), 'upload')
  assert.ok((await (await get('/echo', { method: 'POST', body: form })).json()).length > UPLOAD.length)
})

test('fetch: a large download arrives whole', async () => {
  for (const [framing, mib] of [['length', 50], ['chunked', 10]]) {
    const hash = createHash('sha256')
    let length = 0
    for await (const piece of (await get(`/download?length=${mib * MIB}&${framing}`)).body) {
      hash.update(piece)
      length += piece.length
    }
    assert.equal(length, mib * MIB)
    assert.equal(hash.digest('hex'), digest(Buffer.concat(Array(mib * 16).fill(PIECE))))
  }
})

test('fetch: answers without a body have none', async () => {
  const head = await get('/download?length=1234', { method: 'HEAD' })
  assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [200, '1234', ''])
  for (const status of [204, 304]) {
    const answer = await get(`/status?code=${status}`)
    assert.deepEqual([answer.status, await answer.text()], [status, ''])
  }
})

test('fetch: gzip, redirects and cookies pass through', async () => {
  const zipped = await get('/gzip')
  assert.equal(zipped.headers.get('content-encoding'), 'gzip')
  assert.equal(await zipped.text(), 'Hello, hello, hello!'.repeat(500))
  const followed = await get('/redirect')
  assert.ok(followed.redirected && followed.url.endsWith('/echo?from=redirect'))
  const told = await get('/redirect', { redirect: 'manual' })
  assert.equal(told.headers.getSetCookie().length, 2)
  const body = brotliCompressSync(Buffer.from('zipped'))
  const echo = await (await get('/echo', { method: 'POST', body, headers: { 'content-encoding': 'br' } })).json()
  assert.equal(echo.sha256, digest(body))
})

test('fetch: events arrive before the answer ends', async () => {
  const name = randomUUID()
  const reader = (await get(`/events?name=${name}`)).body.pipeThrough(new TextDecoderStream()).getReader()
  assert.equal((await reader.read()).value, 'data: first\n\n')
  await get(`/release?name=${name}`)
  let rest = ''
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) rest += piece.value
  assert.equal(rest, 'data: second\n\ndata: last\n\n')
})

test('fetch: refusals are read rightly', async () => {
  const read = async (path, more) => {
    const answer = await get(path, more)
    return [answer.status, (await answer.json()).error.code]
  }
  assert.deepEqual(await read('/echo', { headers: { authorization: 'Bearer wrong' } }), [401, 'INVALID_API_KEY'])
  assert.deepEqual(await read('/customers/echo'), [403, 'FORBIDDEN'])
  assert.deepEqual(await read('/small/echo', { method: 'POST', body: UPLOAD.subarray(0, 2000) }), [413, 'PAYLOAD_TOO_LARGE'])
  assert.deepEqual(await read('/nowhere'), [503, 'UPSTREAM_UNAVAILABLE'])
  assert.deepEqual(await read('/short/sleep'), [504, 'UPSTREAM_TIMEOUT'])
  const few = { headers: { authorization: `Bearer ${limited}` } }
  let answer = await get('/echo', few)
  for (; answer.status === 200; answer = await get('/echo', few)) await answer.text()
  assert.deepEqual([answer.status, (await answer.json()).error.code], [429, 'RATE_LIMITED'])
})

test('fetch: an answer that breaks off is an error', async () => {
  for (const how of ['cut-length', 'cut-chunked']) await assert.rejects(async () => (await get(`/wire/${how}`)).text())
})

test('fetch: a hundred calls at once each get their own answer', async () => {
  const call = async (number) => (await (await get(`/echo?n=${number}`, { method: 'POST', body: 'x'.repeat(number) })).json()).length
  const numbers = Array.from({ length: 100 }, (_, number) => number)
  assert.deepEqual(await Promise.all(numbers.map(call)), numbers)
})

test('fetch: a call that is aborted harms no other', async () => {
  await assert.rejects(get('/sleep', { signal: AbortSignal.timeout(100) }))
  assert.equal((await get('/echo')).status, 200)
})

// ---- HTTP/1.1

const web = base.startsWith('https') ? https : http

function exchange(path, { agent, body, ...more } = {}) {
  return new Promise((resolve, reject) => {
    const seen = {}
    const request = web.request(base + path, { agent, ...more, headers: { ...headers, ...more.headers } })
    request.on('continue', () => request.end(body))
    request.on('error', reject)
    request.on('response', async (answer) => {
      try {
        seen.text = Buffer.concat(await answer.toArray()).toString()
        resolve({ ...seen, status: answer.statusCode, trailers: answer.trailers, reused: request.reusedSocket })
      } catch (error) {
        reject(error)
      }
    })
    if (!more.headers?.expect) request.end(body)
    else request.flushHeaders()
  })
}

test('http: a kept connection serves calls and refusals', async () => {
  const agent = new web.Agent({ keepAlive: true, maxSockets: 1 })
  const statuses = []
  for (const path of ['/echo', '/customers/echo', '/nowhere', '/status?code=204', '/echo']) {
    const { status, reused } = await exchange(path, { agent })
    statuses.push([status, reused])
  }
  assert.deepEqual(statuses, [[200, false], [403, true], [503, true], [204, true], [200, true]])
  agent.destroy()
})

test('http: continue is said before the body is sent, and a refusal in its place', async () => {
  const length = { expect: '100-continue', 'content-length': UPLOAD.length }
  const sent = await exchange('/echo', { method: 'POST', headers: length, body: UPLOAD })
  assert.equal(JSON.parse(sent.text).sha256, digest(UPLOAD))
  const refused = await exchange('/small/echo', { method: 'POST', headers: length })
  assert.equal(refused.status, 413)
})

test('http: interim answers and trailers', async () => {
  const hints = await exchange('/wire/hints')
  assert.deepEqual([hints.status, hints.text], [200, 'hello'])
  const trailers = await exchange('/wire/trailers', { headers: { te: 'trailers' } })
  assert.equal(trailers.text, 'hello')
  assert.deepEqual({ ...trailers.trailers }, { 'x-checksum': 'abc' })
})

// ---- HTTP/2

async function stream(session, fields, body) {
  const call = session.request({ ...headers, ...fields }, { endStream: body === undefined })
  let head
  let trailers = {}
  call.on('response', (fields) => (head = fields))
  call.on('trailers', (fields) => (trailers = fields))
  if (body !== undefined) call.end(body)
  const text = Buffer.concat(await call.toArray()).toString()
  return { status: head[':status'], head, text, trailers }
}

async function withSession(work) {
  const session = http2.connect(base)
  await once(session, 'connect')
  try {
    await work(session)
  } finally {
    session.close()
  }
}

test('http2: many streams on one connection each get their own answer', () =>
  withSession(async (session) => {
    const call = (number) => stream(session, { ':method': 'POST', ':path': '/echo' }, 'x'.repeat(number))
    const numbers = Array.from({ length: 90 }, (_, number) => number)
    const answers = await Promise.all(numbers.map(call))
    assert.deepEqual(answers.map(({ text }) => JSON.parse(text).length), numbers)
    const sent = await stream(session, { ':method': 'POST', ':path': '/echo' }, UPLOAD)
    assert.equal(JSON.parse(sent.text).sha256, digest(UPLOAD))
    assert.equal((await stream(session, { ':path': '/customers/echo' })).status, 403)
    assert.equal((await stream(session, { ':path': '/small/echo', ':method': 'POST' }, UPLOAD)).status, 413)
    assert.equal((await stream(session, { ':path': '/echo' })).status, 200)
  }))

test('http2: a stream that is given up harms no other', () =>
  withSession(async (session) => {
    const given = session.request({ ...headers, ':path': '/sleep' })
    given.on('error', () => {})
    given.close(http2.constants.NGHTTP2_CANCEL)
    assert.equal((await stream(session, { ':path': '/echo' })).status, 200)
    await new Promise((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())))
  }))

test('http2: an answer that breaks off is an error, and the connection goes on', () =>
  withSession(async (session) => {
    for (const how of ['cut-length', 'cut-chunked']) await assert.rejects(stream(session, { ':path': `/wire/${how}` }))
    assert.equal((await stream(session, { ':path': '/echo' })).status, 200)
  }))

test('http2: interim answers and trailers', () =>
  withSession(async (session) => {
    const { text, trailers } = await stream(session, { ':path': '/wire/trailers', te: 'trailers' })
    assert.equal(text, 'hello')
    assert.equal(trailers['x-checksum'], 'abc')
    assert.equal((await stream(session, { ':path': '/wire/hints' })).text, 'hello')
  }))

// ---- WebSockets

const WebSocket = createRequire(import.meta.url)(process.env.WS_PACKAGE)

async function opened(path, protocols = [], more = {}) {
  const socket = new WebSocket(base.replace('http', 'ws') + path, protocols, { headers, ...more })
  await once(socket, 'open')
  return socket
}

test('ws: messages of each kind and size come back, compressed or not', async () => {
  for (const perMessageDeflate of [false, true, { serverMaxWindowBits: 9, serverNoContextTakeover: true }]) {
    const socket = await opened('/ws/echo', ['first'], { perMessageDeflate })
    assert.equal(socket.protocol, 'first')
    assert.equal(socket.extensions.includes('permessage-deflate'), perMessageDeflate !== false)
    for (const message of ['', 'hällo', 'x'.repeat(70000), UPLOAD]) {
      socket.send(message)
      const [back, binary] = await once(socket, 'message')
      assert.equal(binary, typeof message !== 'string')
      assert.ok(back.equals(Buffer.from(message)))
    }
    socket.close(1000, 'done')
    const [code] = await once(socket, 'close')
    assert.equal(code, 1000)
  }
})

test('ws: pings are answered and fragments come back', async () => {
  const socket = await opened('/ws/echo')
  socket.ping('payload')
  const [pong] = await once(socket, 'pong')
  assert.equal(pong.toString(), 'payload')
  for (const [part, fin] of [['one ', false], ['two ', false], ['three', true]]) socket.send(part, { fin })
  const [back] = await once(socket, 'message')
  assert.equal(back.toString(), 'one two three')
  socket.terminate()
})

test('ws: the upstream sees who calls, and its close arrives', async () => {
  const socket = await opened('/ws/seen?x=1')
  const [text] = await once(socket, 'message')
  const { target, headers: seen } = JSON.parse(text)
  const names = seen.map(([name]) => name)
  assert.equal(target, '/ws/seen?x=1')
  assert.ok(names.includes('keyward-account') && !names.includes('authorization'))
  socket.close()
  const leaving = await opened('/ws/leaving')
  const [code, reason] = await once(leaving, 'close')
  assert.deepEqual([code, reason.toString()], [4321, 'leaving'])
})

test('ws: a refused handshake is read rightly', async () => {
  for (const [path, more, status] of [['/ws/echo', { headers: {} }, 401], ['/customers/ws', {}, 403]]) {
    const socket = new WebSocket(base.replace('http', 'ws') + path, [], { headers, ...more })
    socket.on('error', () => {})
    const [, answer] = await once(socket, 'unexpected-response')
    assert.equal(answer.statusCode, status)
    answer.resume()
    await once(answer, 'end')
  }
})
