"""The files of `volume init`: specifications that an agent in --dev mode accepts unchanged."""

SAMPLE_HCL = """\
# A volume for `volstore volume register` (and `nomad volume register`).
type = "csi"

# The name for volstore and for jobs, unique in its namespace.
id   = "database-disk"
name = "disk of the database"
# namespace = "default"

# The storage provider's name for it.
external_id = "vol-0a1b2c3d"

# The plugin that serves it; `volstore plugin status` lists them.
plugin_id = "plugin-id1"

# The requested size; stored for the record.
capacity_min = "10GiB"
capacity_max = "20G"

# The allowed uses, one block each. access_mode is one of single-node-reader-only, single-node-writer,
# multi-node-reader-only, multi-node-single-writer, multi-node-multi-writer; attachment_mode is file-system or
# block-device.
capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}
capability {
  access_mode     = "single-node-reader-only"
  attachment_mode = "block-device"
}

# Options for mounting the file system. Never shown again.
mount_options {
  fs_type     = "ext4"
  mount_flags = ["noatime"]
}

# Values for the plugin. Secrets are never shown again.
secrets {
  example_secret = "change-me"
}
parameters {
  kind = "ssd"
}
context {
  endpoint = "http://192.0.2.1:9425"
}

# The parts of the cluster that can reach it.
topology_request {
  required {
    topology { segments { rack = "R1" } }
    topology { segments { rack = "R2", zone = "us-east-1a" } }
  }
  preferred {
    topology { segments { rack = "R1" } }
  }
}
"""

SAMPLE_JSON = """\
{
  "type": "csi",
  "id": "database-disk",
  "name": "disk of the database",
  "external_id": "vol-0a1b2c3d",
  "plugin_id": "plugin-id1",
  "capacity_min": "10GiB",
  "capacity_max": "20G",
  "capability": [
    {
      "access_mode": "single-node-writer",
      "attachment_mode": "file-system"
    },
    {
      "access_mode": "single-node-reader-only",
      "attachment_mode": "block-device"
    }
  ],
  "mount_options": {
    "fs_type": "ext4",
    "mount_flags": ["noatime"]
  },
  "secrets": {
    "example_secret": "change-me"
  },
  "parameters": {
    "kind": "ssd"
  },
  "context": {
    "endpoint": "http://192.0.2.1:9425"
  },
  "topology_request": {
    "required": [
      {
        "topology": [
          { "segments": { "rack": "R1" } },
          { "segments": { "rack": "R2", "zone": "us-east-1a" } }
        ]
      }
    ],
    "preferred": [
      {
        "topology": [{ "segments": { "rack": "R1" } }]
      }
    ]
  }
}
"""
