import { AiSdk } from "../adapters/ai-sdk.js";
import { scenarios } from "../scenarios.js";

scenarios("@ai-sdk/google", AiSdk);
