// Keys, focus and a lost connection on the labelling page. Without this file every button still works.
"use strict"
{
  const STORED = "crossgrade-label-keys"
  const find = selector => document.querySelector(selector)
  const all = selector => [...document.querySelectorAll(selector)]
  let keysOn = localStorage.getItem(STORED) !== "off"
  let now = 0 // which answer the next score is for
  let sending = false
  let waiting = null // the timer of the next try

  const groups = () => all("fieldset[data-answer]")
  const scored = group => group.querySelector("input:checked") !== null

  function frame(at) {
    now = at
    const name = keysOn ? groups()[at]?.dataset.answer : undefined
    for (const each of all("[data-answer]")) each.classList.toggle("now", each.dataset.answer === name)
  }

  function score(key) {
    const group = groups()[now]
    const radio = group && [...group.querySelectorAll("input")].find(each => each.dataset.key === key)
    if (!radio) return false
    radio.checked = true
    if (now + 1 < groups().length) frame(now + 1)
    else if (groups().every(scored)) send()
    else frame(groups().findIndex(each => !scored(each)))
    return true
  }

  const send = () => find("#label").requestSubmit(find("#save"))

  function press(key) {
    const skip = find("details.skip")
    const within = skip?.open ? skip : document
    const target = [...within.querySelectorAll("[data-key]")].find(each =>
      each.dataset.key === key && !each.closest("fieldset") && (within === skip || !each.closest("details.skip .over")))
    if (!target) return skip?.open ? false : score(key)
    if (target.matches("details")) unfold(target)
    else target.click()
    return true
  }

  function unfold(details) {
    details.open = details.matches(".note") || !details.open
    const first = details.querySelector("textarea, .over button")
    if (details.open) first.focus()
  }

  function leave() {
    const skip = find("details.skip")
    if (skip?.open) skip.open = false
    find("#item")?.focus({ preventScroll: true })
  }

  document.addEventListener("keydown", event => {
    const writing = event.target.matches("textarea, input[type=text]")
    if (event.key === "Escape" && (writing || find("details.skip[open]"))) return leave()
    if (writing && event.key === "Enter" && (event.ctrlKey || event.metaKey) && find("#save")) return send()
    if (writing || !keysOn || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
    if (sending || find("#help:popover-open")) return
    if (event.key === "Enter" && find("#save") && event.target.matches("body, #item")) return send()
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (step && groups().length && !event.target.matches("input")) {
      frame((now + step + groups().length) % groups().length)
      event.preventDefault()
    } else if (event.key.length === 1 && press(event.key === "?" ? "?" : event.key.toLowerCase())) event.preventDefault()
  })

  document.addEventListener("change", event => {
    const at = groups().indexOf(event.target.closest("fieldset"))
    if (at >= 0) frame(Math.min(at + 1, groups().length - 1))
    if (event.target.id === "whole") document.body.classList.toggle("whole", event.target.checked)
  })

  document.addEventListener("click", event => {
    if (event.target.id === "keys") {
      keysOn = !keysOn
      localStorage.setItem(STORED, keysOn ? "on" : "off")
      ready()
    }
    if (event.target.id === "again") retry()
  })

  // A form that did not get through is sent again as it is: the server does each action once.
  let lost = null
  function trouble(words) {
    if (!lost) return
    find("#trouble").innerHTML = '<span></span> <button type="button" id="again">Try now</button>'
    find("#trouble span").textContent = words
    clearTimeout(waiting)
    waiting = setTimeout(retry, 3000)
  }
  function retry() {
    clearTimeout(waiting)
    const [form, button] = lost ?? []
    lost = null
    if (form?.isConnected) form.requestSubmit(button?.isConnected ? button : undefined)
  }
  const keep = event => { lost = [event.detail.elt, pressed] }

  let pressed = null
  document.addEventListener("submit", event => { pressed = event.submitter }, true)
  // The settle delay of htmx is 0 (see the page's head): a form is bound before keys are taken again.
  document.addEventListener("htmx:beforeRequest", () => { sending = true; document.body.setAttribute("aria-busy", "true") })
  document.addEventListener("htmx:afterRequest", () => { sending = false; document.body.removeAttribute("aria-busy") })
  for (const name of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(name, event => {
    keep(event)
    trouble("Not saved yet: the connection is lost. The page tries again every 3 seconds.")
  })
  document.addEventListener("htmx:responseError", event => {
    if (event.detail.xhr.status !== 503) return
    keep(event)
    trouble("Not saved yet: the store is busy. The page tries again every 3 seconds.")
  })
  document.addEventListener("htmx:afterSwap", event => {
    if (event.detail.target.id !== "work") return
    lost = null
    clearTimeout(waiting)
    find("#trouble").textContent = ""
    ready()
    const again = event.detail.requestConfig.triggeringEvent?.submitter?.getAttribute("name") === "turn"
    if (again) return find(`button[name=turn][value="${event.detail.requestConfig.triggeringEvent.submitter.value}"]`)?.focus()
    scrollTo(0, 0)
    find("#item")?.focus({ preventScroll: true })
  })

  function ready() {
    const open = groups().findIndex(each => !scored(each))
    frame(Math.max(open, 0))
    const whole = find("#whole")
    if (whole) whole.checked = document.body.classList.contains("whole")
    const keys = find("#keys")
    if (!keys) return
    keys.hidden = false
    keys.setAttribute("aria-pressed", String(keysOn))
    keys.textContent = keysOn ? "Single keys are on" : "Single keys are off"
    document.body.classList.toggle("no-keys", !keysOn)
  }
  document.body.classList.add("keyed")
  ready()
}
