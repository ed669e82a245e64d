"""What a member keeps on its disk: journal, snapshots, identity, and the files underneath."""
