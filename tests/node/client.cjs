// The npm `ws` client against an echo server: large and fragmented messages, pings, close codes.
// Usage: node client.cjs URL [CA_FILE]. Prints one JSON line per case; the caller counts them.
'use strict'

const assert = require('node:assert')
const crypto = require('node:crypto')
const fs = require('node:fs')
const { WebSocket } = require('ws')

const [url, caFile] = process.argv.slice(2)
const options = {
  perMessageDeflate: false,
  maxPayload: 64 << 20,
  ca: caFile && fs.readFileSync(caFile),
  servername: caFile && 'localhost'
}
const CASE_MS = 60000 // a hang, not a slow machine, should meet it

function open (extra) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { ...options, ...extra })
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })
}

// The values of the next such event; an error or an early close instead is a failure.
function next (socket, event) {
  return new Promise((resolve, reject) => {
    const onEvent = (...values) => { forget(); resolve(values) }
    const onError = error => { forget(); reject(error) }
    const onClose = code => onError(new Error(`closed with ${code}`))
    const forget = () => {
      socket.off(event, onEvent)
      socket.off('error', onError)
      socket.off('close', onClose)
    }
    socket.on(event, onEvent)
    socket.on('error', onError)
    if (event !== 'close') socket.on('close', onClose)
  })
}

async function echoes (socket, message, sendOptions = {}) {
  const answered = next(socket, 'message')
  socket.send(message, sendOptions)
  const [data, isBinary] = await answered
  assert.strictEqual(isBinary, Buffer.isBuffer(message))
  assert.ok(data.equals(Buffer.from(message)), 'the echo differs')
}

// Sends a message in fragments; `between` runs after each but the last.
async function echoesFragments (socket, message, size, between = () => {}) {
  const answered = next(socket, 'message')
  for (let at = 0; at < message.length; at += size) {
    const fin = at + size >= message.length
    socket.send(message.subarray(at, at + size), { fin, binary: true })
    if (!fin) await between(at)
  }
  const [data] = await answered
  assert.ok(data.equals(message), 'the echo differs')
}

async function closes (socket, code, reason) {
  const closed = next(socket, 'close')
  socket.close(code, reason)
  const [answered, why] = await closed
  return [answered, why.toString()]
}

const cases = {
  async 'text and binary, from empty to 16 MiB' () {
    const socket = await open()
    for (const size of [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20, 16 << 20]) {
      await echoes(socket, crypto.randomBytes(size))
      await echoes(socket, 'ü'.repeat(size >> 1))
    }
    await closes(socket, 1000)
  },

  async 'fragments of many sizes' () {
    const socket = await open()
    const message = crypto.randomBytes(1 << 20)
    for (const size of [997, 16383, 16384, 16385, 65536, 1 << 19]) {
      await echoesFragments(socket, message, size)
    }
    await closes(socket, 1000)
  },

  async 'pings between fragments are answered at once' () {
    const socket = await open()
    let pongs = 0
    socket.on('pong', () => pongs++)
    await echoesFragments(socket, crypto.randomBytes(100000), 10000, async at => {
      const pong = next(socket, 'pong')
      socket.ping(`at ${at}`)
      assert.strictEqual((await pong)[0].toString(), `at ${at}`)
    })
    assert.strictEqual(pongs, 9)
    await closes(socket, 1000)
  },

  async 'many messages in flight come back in order' () {
    const socket = await open()
    const total = 5000
    const got = []
    const all = new Promise((resolve, reject) => {
      socket.on('message', data => got.push(data.readUInt32LE(0)) === total && resolve())
      socket.on('close', code => reject(new Error(`closed with ${code} after ${got.length}`)))
    })
    for (let number = 0; number < total; number++) {
      const message = Buffer.alloc(4 + number % 2000)
      message.writeUInt32LE(number, 0)
      socket.send(message)
    }
    await all
    got.forEach((number, at) => assert.strictEqual(number, at))
    socket.removeAllListeners('close')
    await closes(socket, 1000)
  },

  async 'close codes come back' () {
    for (const code of [1000, 1001, 1011, 3000, 4000, 4999]) {
      const [answered] = await closes(await open(), code, 'because')
      assert.strictEqual(answered, code)
    }
    const [answered] = await closes(await open())
    assert.ok([1000, 1005].includes(answered), `answered ${answered}`)
  },

  async 'compression is offered and declined' () {
    const socket = await open({ perMessageDeflate: true })
    assert.strictEqual(socket.extensions, '')
    await echoes(socket, 'x'.repeat(100000))
    await closes(socket, 1000)
  },

  async 'a hundred clients at once' () {
    const sockets = await Promise.all(Array.from({ length: 100 }, () => open()))
    await Promise.all(sockets.map(async socket => {
      for (const size of [10, 20000, 100]) await echoes(socket, crypto.randomBytes(size))
    }))
    await Promise.all(sockets.map(socket => closes(socket, 1000)))
  }
}

async function main () {
  for (const [name, body] of Object.entries(cases)) {
    let timer
    const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('hangs')), CASE_MS) })
    const why = await Promise.race([body(), late]).then(() => null, error => String(error.stack))
    clearTimeout(timer)
    console.log(JSON.stringify({ name, passed: why === null, why }))
  }
  process.exit(0)
}

main()
