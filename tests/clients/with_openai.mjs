// openai for Node: `CLIENT_ROOT=DIR node with_openai.mjs BASE_URL KEY` prints one JSON object of what it saw.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_ROOT}/`);
const OpenAI = require("openai").default;
const { version } = JSON.parse(readFileSync(`${process.env.CLIENT_ROOT}/node_modules/openai/package.json`));

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (text) => [{ role: "user", content: text }];
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "Tell the weather.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const schema = {
  name: "answer",
  strict: true,
  schema: {
    type: "object",
    properties: { label: { type: "string" } },
    required: ["label"],
    additionalProperties: false,
  },
};

const chat = await client.chat.completions.create({ model: "support", messages: ask("hello") });
let streamed = "";
for await (const event of await client.chat.completions.create({
  model: "support",
  messages: ask("hello"),
  stream: true,
}))
  streamed += event.choices[0]?.delta?.content ?? "";
const tool = await client.chat.completions.create({ model: "support", messages: ask("weather"), tools });
const common = { model: "support", tools, stream: true };
const call = { id: "", type: "function", function: { name: "", arguments: "" } };
for await (const event of await client.chat.completions.create({ messages: ask("weather"), ...common }))
  for (const part of event.choices[0]?.delta?.tool_calls ?? []) {
    call.id ||= part.id;
    call.function.name ||= part.function.name;
    call.function.arguments += part.function.arguments ?? "";
  }
const turns = [
  ...ask("weather"),
  { role: "assistant", content: null, tool_calls: [call] },
  { role: "tool", tool_call_id: call.id, content: "sun" },
];
let afterTool = "";
for await (const event of await client.chat.completions.create({ messages: turns, ...common }))
  afterTool += event.choices[0]?.delta?.content ?? "";
const structured = await client.chat.completions.create({
  model: "support",
  messages: ask("structured"),
  response_format: { type: "json_schema", json_schema: schema },
});
let error = null;
try {
  await client.chat.completions.create({ model: "nobody", messages: ask("hello") });
} catch (problem) {
  error = problem.code;
}
const slow = await client.chat.completions.create({ model: "support", messages: ask("slow"), stream: true });
for await (const _ of slow) break;
console.log(
  JSON.stringify({
    version,
    chat: chat.choices[0].message.content,
    usage: chat.usage.total_tokens > 0,
    stream: streamed,
    tool: JSON.parse(tool.choices[0].message.tool_calls[0].function.arguments),
    streamed_tool: JSON.parse(call.function.arguments),
    after_tool: afterTool,
    structured: JSON.parse(structured.choices[0].message.content).label,
    error,
  }),
);
