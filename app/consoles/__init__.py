"""What a person does at the two clouds by hand: records, keys, applications, our URLs, patients and studies."""
