"""What tests share: small studies, real servers, slow references. No test is in here."""
