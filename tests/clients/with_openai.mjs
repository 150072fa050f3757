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
    structured: JSON.parse(structured.choices[0].message.content).label,
    error,
  }),
);
