/** The exporters that come with the package. Their options are those of the nodes, under the same names. */
import { resolve } from "node:path";
import {
  checkElasticsearchOptions,
  type ElasticsearchOptions,
  type ElasticsearchSettings,
} from "../targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../targets/elasticsearch/target.js";
import { checkOptions, type FileTargetOptions } from "../targets/file/options.js";
import { FileTarget } from "../targets/file/target.js";
import { checkMongoOptions, type MongoConnectionOptions, type MongoOptions } from "../targets/mongodb/options.js";
import { MongoTarget } from "../targets/mongodb/target.js";
import type { Target } from "../targets/target.js";
import { Exporter } from "./exporter.js";
import { type CommonOptions, targetPart } from "./options.js";

export interface FileExporterOptions extends Omit<FileTargetOptions, "root" | "continues">, CommonOptions {
  /** The file. Without it each record names its own, below `folder`: `send(data, { file: "today.log" })`. */
  readonly file?: string;
  /** Where `file` starts when it is relative. Default: the working folder. Names from records never lead out of it. */
  readonly folder?: string;
}

/** Each record becomes a line of a file. */
export class FileExporter extends Exporter {
  readonly #options: FileTargetOptions;
  #isFirst = true;

  /** @throws {TargetConfigError | OptionError} when an option cannot be used */
  constructor(options: FileExporterOptions) {
    const { file, folder, ...rest } = targetPart(options) as FileExporterOptions;
    const place = file === undefined || file === "" ? { root: folder } : { file: resolve(folder ?? "", file) };
    super(`file ${place.file ?? resolve(place.root ?? "")}`, options);
    this.#options = { ...rest, ...place } as FileTargetOptions;
    checkOptions(this.#options);
  }

  protected override createTarget(): Target {
    // Overwriting is done once, at the start of the program.
    const continues = !this.#isFirst;
    this.#isFirst = false;
    return new FileTarget({ ...this.#options, continues });
  }
}

export interface MongoDBConnectionOptions extends Partial<MongoConnectionOptions> {
  /** Instead of `uri`: "localhost:27017", or several separated by commas. */
  readonly hosts?: string;
  /** With `hosts`: one name that the DNS turns into the servers (mongodb+srv). Default false. */
  readonly srv?: boolean;
}

export interface MongoDBExporterOptions extends Partial<Omit<MongoOptions, "connection">>, CommonOptions {
  readonly database: string;
  readonly collection: string;
  readonly connection?: MongoDBConnectionOptions;
}

/** Each record becomes a document of a MongoDB collection. The driver is loaded at first use. */
export class MongoDBExporter extends Exporter {
  readonly #options: MongoOptions;

  /** @throws {MongoOptionsError | OptionError} when an option cannot be used */
  constructor(options: MongoDBExporterOptions) {
    const checked = checkMongoOptions(targetPart(options));
    super(`mongodb ${checked.database}.${checked.collection}`, options);
    this.#options = checked;
  }

  protected override createTarget(): Target {
    return new MongoTarget(this.#options);
  }
}

export interface ElasticsearchExporterOptions extends ElasticsearchOptions, CommonOptions {}

/** Each record becomes a document of an Elasticsearch index or data stream. The client is loaded at first use. */
export class ElasticsearchExporter extends Exporter {
  readonly #settings: ElasticsearchSettings;

  /** @throws {ElasticsearchOptionsError | OptionError} when an option cannot be used */
  constructor(options: ElasticsearchExporterOptions) {
    const checked = checkElasticsearchOptions(targetPart(options));
    super(`elasticsearch ${checked.index}`, options);
    this.#settings = checked;
  }

  protected override createTarget(): Target {
    return new ElasticsearchTarget(this.#settings);
  }
}
